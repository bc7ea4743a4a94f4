package main

import "github.com/spf13/cobra"

func policyCommand(std stdio) *cobra.Command {
	return withCommands(&cobra.Command{
		Use:   "policy",
		Short: "Say how the rules judge a message, test them, and try them on recorded mail",
	}, policyExplainCommand(std), policyReplayCommand(std), policyTestCommand(std))
}
