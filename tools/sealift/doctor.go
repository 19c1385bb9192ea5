package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// newDoctor is `sealift doctor`.
func newDoctor() *cobra.Command {
	return newPage[doctorAnswer](&cobra.Command{
		Use: "doctor", Short: "Go through what an operator should look at, red or green",
		Long: `Goes through what ends, private keys that should not be on the server, TUF, sizes, certificates,
restored backups and the disk. Exit code 1 says that something is red.`,
	}, "/api/v1/doctor")
}

type doctorAnswer struct {
	Namespace string
	Time      time.Time
	Checks    []findingAnswer
}

func (a doctorAnswer) print(w io.Writer) error {
	fmt.Fprintf(w, "namespace %s, %s\n\n", plain(a.Namespace), a.Time.Local().Format("2006-01-02 15:04:05 MST"))
	for _, f := range a.Checks {
		f.print(w, "")
	}
	return nil
}

func (a doctorAnswer) verdict() error {
	for _, f := range a.Checks {
		if f.Level == "error" {
			return errors.New("something is red")
		}
	}
	return nil
}
