package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// option is one flag of a command.
type option struct {
	name     string // without dashes
	key      string // what the value is kept under, name where ""
	short    string // one letter, or ""
	arg      string // what its value is, "" for a switch
	required bool
	repeated bool
	help     string
}

// command is a node of the command tree. One with run nil only groups others.
type command struct {
	name    string
	help    string
	options []option
	subs    []*command
	run     func(*call) error
}

// call is a command as it was typed.
type call struct {
	world
	ctx     context.Context
	program string
	path    []*command // from the root to what runs
	values  map[string][]string
	locks   []func() // of the homes that are open
}

// usageError is what was typed wrongly.
type usageError struct{ why string }

func (e usageError) Error() string { return e.why }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func (c *call) has(name string) bool { return len(c.values[name]) > 0 }

// get is the value of an option, the last where it was given several times.
func (c *call) get(name string) string {
	list := c.values[name]
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

func (c *call) list(name string) []string { return c.values[name] }

func (c *call) command() *command { return c.path[len(c.path)-1] }

// name is how the command is typed, without the program.
func (c *call) name() string {
	var words []string
	for _, cmd := range c.path[1:] {
		words = append(words, cmd.name)
	}
	return strings.Join(words, " ")
}

// parse reads the arguments from left to right. Options of a command may come
// anywhere behind its name, global ones anywhere at all; where several commands
// have an option of one name, the innermost that was named gets it.
func (c *call) parse(root *command, args []string) error {
	c.path, c.values = []*command{root}, map[string][]string{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if len(arg) < 2 || arg[0] != '-' {
			sub := find(c.command().subs, arg)
			if sub == nil {
				return usagef("Unknown argument '%s'", arg)
			}
			c.path = append(c.path, sub)
			continue
		}
		name, value, joined := strings.Cut(arg, "=")
		o := c.option(name)
		switch {
		case o == nil:
			return usagef("Unknown option %s", name)
		case o.arg == "" && joined:
			return usagef("Option %s takes no value", name)
		case o.arg != "" && !joined:
			if len(args) == 0 {
				return usagef("Option %s needs a value", name)
			}
			value, args = args[0], args[1:]
		}
		c.values[o.kept()] = append(c.values[o.kept()], value)
	}
	return nil
}

func find(subs []*command, name string) *command {
	i := slices.IndexFunc(subs, func(s *command) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return subs[i]
}

// option finds "--name" or "-n" among what the commands so far offer.
func (c *call) option(typed string) *option {
	for _, cmd := range slices.Backward(c.path) {
		for i, o := range cmd.options {
			if typed == "--"+o.name || o.short != "" && typed == "-"+o.short {
				return &cmd.options[i]
			}
		}
	}
	return nil
}

// check demands what is required and refuses what may be given once only.
func (c *call) check() error {
	for _, cmd := range c.path {
		for _, o := range cmd.options {
			switch n := len(c.values[o.kept()]); {
			case o.required && n == 0:
				return usagef("Missing option --%s", o.name)
			case n > 1 && !o.repeated && o.arg != "":
				return usagef("Option --%s may be given once only", o.name)
			}
		}
	}
	return nil
}

// usage describes the command that was reached.
func (c *call) usage(w io.Writer) {
	words := c.program
	if n := c.name(); n != "" {
		words += " " + n
	}
	if len(c.command().subs) > 0 {
		words += " COMMAND"
	}
	fmt.Fprintf(w, "Usage: %s [options]\n", words)
	if h := c.command().help; h != "" {
		fmt.Fprintf(w, "\n%s\n", h)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(c.command().subs) > 0 {
		fmt.Fprintln(t, "\nCommands:")
		listCommands(t, "", c.command().subs)
	}
	fmt.Fprintln(t, "\nOptions:")
	for _, cmd := range slices.Backward(c.path) {
		for _, o := range cmd.options {
			fmt.Fprintf(t, "  %s\t%s\n", o.spelling(), o.help)
		}
	}
	t.Flush()
}

func listCommands(w io.Writer, prefix string, subs []*command) {
	for _, s := range subs {
		if len(s.subs) > 0 {
			listCommands(w, prefix+s.name+" ", s.subs)
			continue
		}
		fmt.Fprintf(w, "  %s%s\t%s\n", prefix, s.name, s.help)
	}
}

func (o option) kept() string {
	if o.key != "" {
		return o.key
	}
	return o.name
}

func (o option) spelling() string {
	s := "--" + o.name
	if o.short != "" {
		s = "-" + o.short + ", " + s
	}
	if o.arg != "" {
		s += " " + o.arg
	}
	if o.required {
		s += " (required)"
	}
	return s
}
