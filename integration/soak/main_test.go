//go:build integration

package soak_test

import (
	"testing"

	"dkimd/integration/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
