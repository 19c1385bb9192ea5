package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newConfig is `sealift config`: what the server would run with, and why.
func newConfig() *cobra.Command {
	config := &cobra.Command{Use: "config", Short: "Show the configuration"}
	var s settings
	print := &cobra.Command{
		Use: "print", Short: "Print every setting and where it comes from; secrets are masked", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			source, err := s.load(c)
			if err != nil {
				return err
			}
			settingFlags(&settings{}).VisitAll(func(f *pflag.Flag) {
				fmt.Fprintf(c.OutOrStdout(), "%s: %s  # %s\n", f.Name, shownSetting(c.Flags().Lookup(f.Name)), source[f.Name])
			})
			return nil
		},
	}
	s.bind(print)
	config.AddCommand(print)
	return config
}
