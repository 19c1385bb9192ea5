package main

import "github.com/spf13/cobra"

// newDemo is `sealift demo`.
func newDemo() *cobra.Command {
	return &cobra.Command{Use: "demo", Short: "Show a whole update on this machine"}
}
