package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// newCommand is the whole command line; each subcommand lives in the file of
// its name.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sealift",
		Short:         "Secure over-the-air updates for embedded Linux fleets",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("sealift {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(settingError(err)) })
	root.AddCommand(
		newInit(), newImport(), newServe(), newConfig(), newClock(), newFsck(), newAudit(), newBackup(), newRestore(), newDemo(), newDrill(),
		newStatus(), newDevice(), newTarget(), newUpdate(), newToken(), newCA(), newCommit(), newTUF(), newRecovery(), newKeys(), newRoot(),
		newExpiry(), newPolicy(), newDoctor(), newExposure(),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: args(cobra.NoArgs),
			Run: func(c *cobra.Command, _ []string) { fmt.Fprintf(c.OutOrStdout(), "sealift %s\n", version) },
		},
	)
	demandCommands(root)
	return root
}

// demandCommands makes a command that only groups others refuse what is none of
// them; it would else print help and look like success.
func demandCommands(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, given []string) error {
			if len(given) == 0 {
				return c.Help()
			}
			return usage(fmt.Errorf("unknown command %q; %s --help lists what there is", given[0], c.CommandPath()))
		}
	}
	for _, sub := range c.Commands() {
		demandCommands(sub)
	}
}

// usage makes err one of a wrong call.
func usage(err error) error { return usageError{err} }

// args makes a wrong number of arguments an error of a wrong call.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if err := check(c, given); err != nil {
			return usage(fmt.Errorf("%w\nusage: %s", err, c.UseLine()))
		}
		return nil
	}
}
