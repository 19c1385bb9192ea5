package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"sealift/internal/hub"
)

// common are the flags that all programs have.
type common struct {
	help, version  bool
	verbose, quiet bool
	logLevel       int
	caCert         string
	jobs           int
}

// errShown: --help or --version was asked for and answered.
var errShown = errors.New("shown")

func newFlags(program string, c *common) *pflag.FlagSet {
	f := pflag.NewFlagSet(program, pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	f.BoolVar(&c.help, "help", false, "print usage")
	f.BoolVar(&c.version, "version", false, "current "+program+" version")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "verbose logging (loglevel 1)")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "quiet mode (loglevel 3)")
	f.IntVar(&c.logLevel, "loglevel", levelInfo, "set log level 0-5 (trace, debug, info, warning, error, fatal)")
	f.StringVar(&c.caCert, "cacert", "", "override path to CA root certificates, in the same format as curl --cacert")
	f.IntVar(&c.jobs, "jobs", hub.DefaultJobs, "maximum number of parallel requests")
	return f
}

// parse reads args and sets the level of out. It returns errShown if there is
// nothing left to do.
func (c *common) parse(f *pflag.FlagSet, args []string, out *screen, required ...string) error {
	args, err := expandPrefixes(f, args)
	if err != nil {
		return err
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case c.help:
		out.say(levelFatal, "%s command line options:\n%s", f.Name(), strings.TrimRight(f.FlagUsages(), "\n"))
		return errShown
	case c.version:
		out.say(levelFatal, "%s", versionText(f.Name()))
		return errShown
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	for _, name := range required {
		if !f.Changed(name) {
			return fmt.Errorf("the option '--%s' is required but missing", name)
		}
	}
	if c.jobs < 1 {
		return errors.New("--jobs must be greater than 0")
	}
	if c.caCert != "" {
		if _, err := os.Stat(c.caCert); err != nil {
			return fmt.Errorf("--cacert path %s does not exist", c.caCert)
		}
	}
	return c.setLevel(f, out)
}

func (c *common) setLevel(f *pflag.FlagSet, out *screen) error {
	switch {
	case f.Changed("loglevel"):
		if c.logLevel < levelTrace || c.logLevel > levelFatal {
			return errors.New("--loglevel must be between 0 and 5")
		}
		out.setLevel(c.logLevel)
	case c.verbose:
		out.setLevel(levelDebug)
	case c.quiet:
		out.setLevel(levelWarning)
	}
	return nil
}

// expandPrefixes writes out long options that are given by the beginning of
// their name, which these programs have always allowed.
func expandPrefixes(f *pflag.FlagSet, args []string) ([]string, error) {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		if long, ok := strings.CutPrefix(arg, "--"); ok {
			name, value, given := strings.Cut(long, "=")
			full, err := fullName(f, name)
			if err != nil {
				return nil, err
			}
			arg = "--" + full
			if given {
				arg += "=" + value
			}
		}
		out = append(out, arg)
		if takesNext(f, arg) && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out, nil
}

// fullName returns the only option that begins with name, or name itself for
// the parser to complain about.
func fullName(f *pflag.FlagSet, name string) (string, error) {
	if name == "" || f.Lookup(name) != nil {
		return name, nil
	}
	var found []string
	f.VisitAll(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, name) {
			found = append(found, flag.Name)
		}
	})
	switch len(found) {
	case 0:
		return name, nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("option '--%s' is ambiguous and matches '--%s'", name, strings.Join(found, "', and '--"))
}

// takesNext reports whether the argument after arg is the value of arg.
func takesNext(f *pflag.FlagSet, arg string) bool {
	if long, ok := strings.CutPrefix(arg, "--"); ok {
		flag := f.Lookup(long) // nil if it has its value with it
		return flag != nil && flag.NoOptDefVal == ""
	}
	if len(arg) < 2 || arg[0] != '-' {
		return false
	}
	for i, letter := range arg[1:] {
		flag := f.ShorthandLookup(string(letter))
		if flag == nil {
			return false
		}
		if flag.NoOptDefVal == "" {
			return i == len(arg)-2 // else the rest of arg is its value
		}
	}
	return false
}
