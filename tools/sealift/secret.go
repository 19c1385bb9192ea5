package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"

	"golang.org/x/term"
)

// readSecretFile is the first line of a file.
func readSecretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a passphrase: %w", err)
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 4096).ReadSlice('\n')
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil, usage(fmt.Errorf("reading a passphrase: the first line of %s is empty", path))
	}
	return bytes.Clone(line), nil
}

// prompt asks on the terminal without echo; nil where there is none.
func prompt() func(question string) ([]byte, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	return func(question string) ([]byte, error) {
		fmt.Fprint(os.Stderr, question)
		defer fmt.Fprintln(os.Stderr)
		return term.ReadPassword(int(os.Stdin.Fd()))
	}
}
