//go:build integration

package integration_test

import (
	"testing"

	"dkimd/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
