package main

import (
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/pflag"

	"sealift/internal/hsm"
)

// masked is what is shown in the place of a secret.
const masked = "(masked)"

// secretSettings may hold a password, a key or a secret address, each with how it
// is shown all the same.
var secretSettings = map[string]func(string) string{
	"database-url":   hidden,
	"blobs-url":      hidden,
	"record-heads":   hidden,
	"master-key-url": hidden,
	"online-token":   hsm.Shown,
}

func hidden(value string) string {
	if value == "" {
		return ""
	}
	return masked
}

// shownSetting is the value of a setting as people may see it.
func shownSetting(f *pflag.Flag) string {
	if show := secretSettings[f.Name]; show != nil {
		return show(f.Value.String())
	}
	return f.Value.String()
}

// settingError is an error of a flag without the value that it refuses, where that
// may be a secret.
func settingError(err error) error {
	var wrong *pflag.InvalidValueError
	if errors.As(err, &wrong) && secretSettings[wrong.GetFlag().Name] != nil {
		return errors.New("invalid argument for --" + wrong.GetFlag().Name + ": it cannot be read")
	}
	return err
}

// placeOf is the address of a place without what may be secret in it: user, path
// and query.
func placeOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme != "" {
		return u.Scheme + "://" + u.Host
	}
	if address == "stdout" {
		return address
	}
	return masked
}

// withoutAddress is an error in which an address is told as a place at most.
// Libraries put what they were given into theirs, whole or in parts.
func withoutAddress(err error, address string) error {
	u, wrong := url.Parse(address)
	if err == nil {
		return nil
	}
	if wrong != nil {
		return errors.New("it is no URL")
	}
	var about *url.Error
	if errors.As(err, &about) { // of a request: its address, and why
		err = about.Err
	}
	text := strings.NewReplacer(address, placeOf(address), u.String(), placeOf(address), u.Redacted(), placeOf(address)).Replace(err.Error())
	for _, part := range []string{u.RawQuery, u.User.String(), u.EscapedPath()} {
		if len(part) > 1 {
			text = strings.ReplaceAll(text, part, masked)
		}
	}
	return hiddenError{text, err}
}

// hiddenError is another error under a text without secrets.
type hiddenError struct {
	text  string
	cause error
}

func (e hiddenError) Error() string { return e.text }
func (e hiddenError) Unwrap() error { return e.cause }
