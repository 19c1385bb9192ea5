package main

import (
	"regexp"
	"strconv"
	"time"
)

// expires reads --expires and --expire-after; the zero time where neither is
// given.
func (c *call) expires() (time.Time, error) {
	at, after := c.get("expires"), c.get("expire-after")
	switch {
	case at != "" && after != "":
		return time.Time{}, usagef("Only one of --expires and --expire-after can be given")
	case at != "":
		return parseInstant(at)
	case after != "":
		return addPeriod(c.now().UTC(), after)
	}
	return time.Time{}, nil
}

func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, usagef("'%s' is no instant like 2030-01-31T12:00:00Z", s)
	}
	return t.UTC().Truncate(time.Second), nil
}

const periodPattern = `^[Pp]?(?:(\d{1,5})[Yy])?(?:(\d{1,5})[Mm])?(?:(\d{1,5})[Ww])?(?:(\d{1,5})[Dd])?$`

// addPeriod adds a calendar period, "1Y3M5D": M is months, a leading P is
// allowed. A day that the month does not have becomes its last one.
func addPeriod(t time.Time, s string) (time.Time, error) {
	m := regexp.MustCompile(periodPattern).FindStringSubmatch(s)
	if m == nil || s == "" || s == "P" || s == "p" {
		return t, usagef("'%s' is no period like 1Y3M5D", s)
	}
	n := func(i int) int {
		v, _ := strconv.Atoi(m[i]) // at most five digits, or none
		return v
	}
	months := int(t.Month()) - 1 + n(1)*12 + n(2)
	first := time.Date(t.Year(), time.Month(months+1), 1, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	lastDay := first.AddDate(0, 1, -1).Day()
	t = first.AddDate(0, 0, min(t.Day(), lastDay)-1+n(3)*7+n(4))
	if t.Year() > 9999 {
		return t, usagef("'%s' ends after the year 9999", s)
	}
	return t, nil
}
