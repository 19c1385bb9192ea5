package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// watchEvery is how often --wait looks.
const watchEvery = time.Second

// newUpdate is `sealift update`.
func newUpdate() *cobra.Command {
	update := &cobra.Command{Use: "update", Short: "Give images to devices and watch what becomes of them"}
	var f operatorFlags
	f.bind(update)
	update.AddCommand(newUpdateCreate(&f), newUpdateList(&f), newUpdateShow(&f), newUpdateCancel(&f))
	return update
}

// waiting is whether a command waits for devices, and how long.
type waiting struct {
	wait    bool
	timeout time.Duration
}

func (w *waiting) bind(c *cobra.Command) {
	c.Flags().BoolVar(&w.wait, "wait", false, "wait until every device is done")
	c.Flags().DurationVar(&w.timeout, "timeout", 0, "with --wait: give up after this time, such as 30m; 0 is never")
}

func (w *waiting) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.wait && w.timeout > 0 {
		return context.WithTimeout(ctx, w.timeout)
	}
	return context.WithCancel(ctx)
}

type updateAnswer struct {
	UpdateID, Name, CorrelationID, CreatedBy string
	CreatedAt                                *time.Time
	Packages                                 map[string]string
	Assignments                              map[string]int
	Affected                                 []string
	NotAffected                              map[string]map[string]apiError
	Warnings                                 []findingAnswer
}

func newUpdateCreate(f *operatorFlags) *cobra.Command {
	var name string
	var devices, targets []string
	var w waiting
	c := f.speak(&cobra.Command{
		Use: "create --device DEVICE --target TARGET", Short: "Assign signed targets to devices", Args: args(cobra.NoArgs),
		Long: `Assigns signed targets to devices. --target NAME gives the target to every hardware id it
is made for, --target HARDWAREID=NAME to that one alone. Both flags may be repeated. With --wait
it first waits for devices that have not provisioned themselves yet, and returns when every
device is done, as update show --wait does.`,
	}, func(k *client, c *cobra.Command, _ []string) error {
		if len(devices) == 0 || len(targets) == 0 {
			return usage(errors.New("name at least one --device and one --target"))
		}
		ctx, stop := w.bounded(c.Context())
		defer stop()
		id, err := createUpdate(ctx, k, name, devices, targets, w.wait)
		if err != nil || !w.wait {
			return err
		}
		return showUpdate(ctx, k, id, true)
	})
	w.bind(c)
	c.Flags().StringVar(&name, "name", "", "what to call the update")
	c.Flags().StringArrayVar(&devices, "device", nil, "device, by its own name or its id (repeatable)")
	c.Flags().StringArrayVar(&targets, "target", nil, "signed target: NAME or HARDWAREID=NAME (repeatable)")
	return c
}

// createUpdate returns the id of the new update.
func createUpdate(ctx context.Context, k *client, name string, devices, targets []string, wait bool) (string, error) {
	images, err := k.imagesByHardware(ctx, targets)
	if err != nil {
		return "", err
	}
	names := map[string]string{} // by id
	ids := make([]string, len(devices))
	for i, device := range devices {
		d, err := k.device(ctx, device, wait)
		if err != nil {
			return "", fmt.Errorf("device %s: %w", plain(device), err)
		}
		ids[i], names[d.UUID] = d.UUID, d.DeviceID
	}
	var u updateAnswer
	raw, err := k.ask(ctx, http.MethodPost, "/api/v1/updates", map[string]any{"name": name, "targets": images, "devices": ids}, &u)
	if err != nil {
		return "", err
	}
	if err := k.show(raw, func(w io.Writer) error { return u.printResult(w, names) }); err != nil {
		return "", err
	}
	if len(u.Affected) == 0 {
		return "", errors.New("no device gets the update")
	}
	return u.UpdateID, nil
}

// device looks a device up. With wait it waits for one that has not registered
// its ECUs yet.
func (k *client) device(ctx context.Context, device string, wait bool) (deviceAnswer, error) {
	for told := false; ; told = true {
		var d deviceAnswer
		_, err := k.get(ctx, devicePath(device), &d)
		if told && ctx.Err() != nil { // the time was up while the server was asked again
			return d, fmt.Errorf("waiting for it to provision itself: %w", ctx.Err())
		}
		var refusal *apiError
		absent := errors.As(err, &refusal) && refusal.Code == "missing_device" || err == nil && d.ActivatedAt == nil
		if !wait || !absent {
			return d, err
		}
		if !told {
			fmt.Fprintf(os.Stderr, "waiting for %s to provision itself\n", plain(device))
		}
		select {
		case <-ctx.Done():
			return d, fmt.Errorf("waiting for it to provision itself: %w", ctx.Err())
		case <-time.After(watchEvery):
		}
	}
}

// printResult says who gets the update and who does not, and why.
func (u updateAnswer) printResult(w io.Writer, names map[string]string) error {
	fmt.Fprintf(w, "update %s\n", plain(u.UpdateID))
	for _, f := range u.Warnings {
		f.print(w, "  ")
	}
	t := newTable(w)
	for _, id := range u.Affected {
		t.row("  "+names[id], "assigned", "")
	}
	for _, id := range slices.Sorted(maps.Keys(u.NotAffected)) {
		for _, serial := range slices.Sorted(maps.Keys(u.NotAffected[id])) {
			why := u.NotAffected[id][serial]
			t.row("  "+names[id], "not assigned", shortSerial(serial)+": "+why.Error())
		}
	}
	return t.end()
}

// imagesByHardware reads --target flags: which hardware id gets which target.
func (k *client) imagesByHardware(ctx context.Context, targets []string) (map[string]string, error) {
	images := map[string]string{}
	put := func(hardware, name string) error {
		if old, ok := images[hardware]; ok && old != name {
			return usage(fmt.Errorf("hardware id %q would get both %s and %s; use --target HARDWAREID=NAME", plain(hardware), plain(old), plain(name)))
		}
		images[hardware] = name
		return nil
	}
	for _, target := range targets {
		if hardware, name, ok := strings.Cut(target, "="); ok {
			if err := put(hardware, name); err != nil {
				return nil, err
			}
			continue
		}
		var t targetAnswer
		if _, err := k.get(ctx, targetPath(target), &t); err != nil {
			return nil, fmt.Errorf("target %s: %w", plain(target), err)
		}
		if len(t.Custom.HardwareIDs) == 0 {
			return nil, fmt.Errorf("target %s names no hardware id; use --target HARDWAREID=%s", plain(target), plain(target))
		}
		for _, hardware := range t.Custom.HardwareIDs {
			if err := put(hardware, target); err != nil {
				return nil, err
			}
		}
	}
	return images, nil
}

func newUpdateList(f *operatorFlags) *cobra.Command {
	var p pageFlags
	c := f.speak(&cobra.Command{Use: "list", Short: "List updates, the newest first", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		var list page[updateAnswer]
		raw, err := k.get(c.Context(), p.query("/api/v1/updates", url.Values{}), &list)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			t := newTable(w, "ID", "NAME", "CREATED", "BY", "IMAGES", "ASSIGNMENTS")
			for _, u := range list.Values {
				t.row(u.UpdateID, u.Name, when(u.CreatedAt), u.CreatedBy, strings.Join(packages(u.Packages), ", "), counted(u.Assignments))
			}
			err := t.end()
			p.rest(w, len(list.Values), list.Total)
			return err
		})
	})
	p.bind(c)
	return c
}

func newUpdateShow(f *operatorFlags) *cobra.Command {
	var w waiting
	c := f.speak(&cobra.Command{
		Use: "show UPDATE", Short: "Show an update on each device", Args: args(cobra.ExactArgs(1)),
		Long: "Shows an update on each device. With --wait it returns when every device is done: 0 if all\nhave installed their images, 1 if not.",
	}, func(k *client, c *cobra.Command, given []string) error {
		ctx, stop := w.bounded(c.Context())
		defer stop()
		return showUpdate(ctx, k, given[0], w.wait)
	})
	w.bind(c)
	return c
}

func showUpdate(ctx context.Context, k *client, id string, wait bool) error {
	path := "/api/v1/updates/" + url.PathEscape(id)
	var u updateAnswer
	if _, err := k.get(ctx, path, &u); err != nil {
		return err
	}
	told := ""
	for wait && u.open() > 0 {
		if now := counted(u.Assignments); now != told {
			fmt.Fprintf(os.Stderr, "waiting: %s\n", now)
			told = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for update %s: %d assignments are still open: %w", plain(id), u.open(), ctx.Err())
		case <-time.After(watchEvery):
		}
		u = updateAnswer{}
		if _, err := k.get(ctx, path, &u); err != nil {
			return err
		}
	}
	var list page[assignmentAnswer]
	raw, err := k.get(ctx, path+"/devices?limit=1000", &list)
	if err != nil {
		return err
	}
	names := k.names(ctx, list.Values)
	if err := k.show(raw, func(w io.Writer) error { return u.print(w, list, names) }); err != nil {
		return err
	}
	if n := u.Assignments["failed"] + u.Assignments["cancelled"]; wait && n > 0 {
		return fmt.Errorf("%d of the assignments did not end well", n)
	}
	return nil
}

// names are those of the devices of some assignments, by id. Whoever may not look
// devices up sees their ids.
func (k *client) names(ctx context.Context, list []assignmentAnswer) map[string]string {
	names := map[string]string{}
	for _, a := range list {
		if _, known := names[a.DeviceID]; known {
			continue
		}
		names[a.DeviceID] = a.DeviceID
		var d deviceAnswer
		if _, err := k.get(ctx, devicePath(a.DeviceID), &d); err == nil && d.DeviceID != "" {
			names[a.DeviceID] = d.DeviceID
		}
	}
	return names
}

// open counts the assignments with something left to do.
func (u updateAnswer) open() int {
	return u.Assignments["assigned"] + u.Assignments["offered"] + u.Assignments["needs_completion"]
}

func (u updateAnswer) print(w io.Writer, list page[assignmentAnswer], names map[string]string) error {
	fmt.Fprintf(w, "update %s  %s  created %s by %s\n%s\n\n", plain(u.UpdateID), plain(u.Name), when(u.CreatedAt), plain(u.CreatedBy), counted(u.Assignments))
	t := newTable(w, "DEVICE", "ECU", "IMAGE", "STATUS", "RESULT", "ENDED")
	for _, a := range list.Values {
		result := strings.TrimSpace(a.ResultCode + " " + a.Description)
		t.row(names[a.DeviceID], shortSerial(a.Ecu), a.Filename, a.Status, result, when(a.EndedAt))
	}
	return t.end()
}

func newUpdateCancel(f *operatorFlags) *cobra.Command {
	var force bool
	c := f.speak(&cobra.Command{Use: "cancel UPDATE", Short: "Cancel what is open of an update", Args: args(cobra.ExactArgs(1))}, func(k *client, c *cobra.Command, given []string) error {
		header := http.Header{}
		if force {
			header.Set("x-trx-force", "true")
		}
		_, err := k.send(c.Context(), http.MethodPatch, "/api/v1/updates/"+url.PathEscape(given[0]), nil, header)
		var refusal *apiError
		if errors.As(err, &refusal) && refusal.Code == "assignment_in_flight_devices" {
			return fmt.Errorf("%w; with --force the server cancels it all the same, devices that are installing already may finish", err)
		}
		if err == nil {
			fmt.Fprintf(k.out, "update %s is cancelled\n", plain(given[0]))
		}
		return err
	})
	c.Flags().BoolVar(&force, "force", false, "also where devices have been told already")
	return c
}
