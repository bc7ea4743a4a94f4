package main

import "github.com/spf13/cobra"

func policyCommand(std stdio) *cobra.Command {
	return withCommands(&cobra.Command{
		Use:   "policy",
		Short: "Explain and test rules, and try them on recorded mail",
	}, policyExplainCommand(std), policyReplayCommand(std), policyTestCommand(std))
}
