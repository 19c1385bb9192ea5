package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// newExposure is `sealift exposure`.
func newExposure() *cobra.Command {
	return newPage[exposureAnswer](&cobra.Command{
		Use: "exposure", Short: "List what a thief of all online keys could make devices install",
		Long: `Lists what is signed for each hardware id. Whoever has stolen every key on the server can choose among
these images and no others. A device refuses what is older than what it runs, so an older image is of use
to him where a device runs a still older one, or is new; sealift target retire takes it out.`,
	}, "/api/v1/exposure")
}

type exposureAnswer struct {
	Values []struct {
		HardwareID    string
		Newest, Older []string
	}
}

func (a exposureAnswer) print(w io.Writer) error {
	older := 0
	for _, e := range a.Values {
		fmt.Fprintf(w, "%s\n", plain(e.HardwareID))
		for _, name := range e.Newest {
			fmt.Fprintf(w, "  newest  %s\n", plain(name))
		}
		for _, name := range e.Older {
			fmt.Fprintf(w, "  older   %s\n", plain(name))
		}
		older += len(e.Older)
	}
	if older == 0 {
		fmt.Fprintln(w, "no older image is signed: a thief of the online keys could give devices the newest only")
		return nil
	}
	fmt.Fprintln(w, "\nA thief of all online keys could give the older ones to devices that run still older ones; take them out: sealift target retire --superseded")
	return nil
}
