package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
)

// newClock is `sealift clock`.
func newClock() *cobra.Command {
	clock := &cobra.Command{Use: "clock", Short: "What to do when the server's clock has gone back"}
	var s settings
	accept := &cobra.Command{
		Use: "accept", Short: "Declare that the clock is right although signatures were made later (the server must be stopped)", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if _, err := s.load(c); err != nil {
				return err
			}
			v, err := openServices(c.Context(), s, slog.New(slog.DiscardHandler), false)
			if err != nil {
				return err
			}
			defer func() { _ = v.close() }()
			if err := v.Vault.AcceptClock(c.Context()); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "the clock is accepted; this is in the audit")
			return nil
		},
	}
	s.bind(accept)
	clock.AddCommand(accept)
	return clock
}
