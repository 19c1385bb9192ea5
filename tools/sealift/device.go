package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// newDevice is `sealift device`. A device is named by its own name or by its
// id.
func newDevice() *cobra.Command {
	device := &cobra.Command{Use: "device", Short: "Look at devices, let them in again or shut them out"}
	var f operatorFlags
	f.bind(device)
	one := args(cobra.ExactArgs(1))
	device.AddCommand(
		newDeviceList(&f),
		f.speak(&cobra.Command{Use: "show DEVICE", Short: "Show a device, its ECUs and why it does not update", Args: one}, showDevice),
		f.speak(&cobra.Command{Use: "events DEVICE", Short: "Show what a device reported, the newest first", Args: one}, showEvents),
		f.speak(&cobra.Command{Use: "reset DEVICE", Short: "Let a device that was wiped provision itself again under its name", Args: one},
			changeDevice("/reset", "%s may provision itself again, once; its certificates are revoked and its open assignments cancelled")),
		f.speak(&cobra.Command{Use: "revoke DEVICE", Short: "Shut a device out by revoking its certificates", Args: one},
			changeDevice("/revoke", "%s is shut out; sealift device reset lets it in again")),
		newDeviceAdopt(&f),
	)
	return device
}

type deviceAnswer struct {
	UUID, DeviceID, DeviceName, DeviceStatus string
	LastSeen, CreatedAt, ActivatedAt         *time.Time
	Notes                                    *string
}

func newDeviceList(f *operatorFlags) *cobra.Command {
	var p pageFlags
	var name, status string
	var hardware []string
	c := f.speak(&cobra.Command{Use: "list", Short: "List devices by name", Args: args(cobra.NoArgs)}, func(k *client, c *cobra.Command, _ []string) error {
		params := url.Values{}
		for key, value := range map[string]string{"nameContains": name, "status": status, "hardwareIds": strings.Join(hardware, ",")} {
			if value != "" {
				params.Set(key, value)
			}
		}
		var list page[deviceAnswer]
		raw, err := k.get(c.Context(), p.query("/api/v1/devices", params), &list)
		if err != nil {
			return err
		}
		return k.show(raw, func(w io.Writer) error {
			t := newTable(w, "DEVICE", "STATUS", "LAST SEEN", "CREATED", "ID")
			for _, d := range list.Values {
				t.row(d.DeviceID, d.DeviceStatus, when(d.LastSeen), when(d.CreatedAt), d.UUID)
			}
			err := t.end()
			p.rest(w, len(list.Values), list.Total)
			return err
		})
	})
	p.bind(c)
	c.Flags().StringVar(&name, "name-contains", "", "only devices with this in their name")
	c.Flags().StringVar(&status, "status", "", "only devices of this status: NotSeen, UpToDate, Outdated, UpdatePending or Error")
	c.Flags().StringSliceVar(&hardware, "hardware-id", nil, "only devices with an ECU of this kind (repeatable)")
	return c
}

type overviewAnswer struct {
	Device     deviceAnswer
	Findings   []findingAnswer
	ManifestAt *time.Time
	ECUs       []struct {
		EcuSerial, HardwareID string
		Primary               bool
		Filename, SHA256      *string
		InstalledAt           *time.Time
		KeyID                 string
	}
	Assignments []assignmentAnswer
	LastReport  *struct {
		EventTime     time.Time
		CorrelationID *string
		Detail        struct {
			Result struct{ Code, Description string }
		}
	}
}

type assignmentAnswer struct {
	DeviceID, Ecu, HardwareID, UpdateID, Filename string
	Status, ResultCode, Description               string
	CreatedAt, OfferedAt, EndedAt                 *time.Time
}

func showDevice(k *client, c *cobra.Command, given []string) error {
	var o overviewAnswer
	raw, err := k.get(c.Context(), devicePath(given[0], "/overview"), &o)
	if err != nil {
		return err
	}
	return k.show(raw, o.print)
}

func (o overviewAnswer) print(w io.Writer) error {
	d := o.Device
	t := newTable(w)
	for _, row := range [][2]string{
		{"device", d.DeviceID}, {"id", d.UUID}, {"name", d.DeviceName}, {"status", d.DeviceStatus}, {"notes", text(d.Notes)},
		{"created", when(d.CreatedAt)}, {"registered", when(d.ActivatedAt)}, {"last seen", when(d.LastSeen)}, {"last manifest", when(o.ManifestAt)},
	} {
		t.row(row[0], row[1])
	}
	if r := o.LastReport; r != nil {
		t.row("last report", strings.TrimSpace(fmt.Sprintf("%s %s %s", when(&r.EventTime), r.Detail.Result.Code, r.Detail.Result.Description)))
	}
	if err := t.end(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, f := range o.Findings {
		f.print(w, "")
	}
	fmt.Fprintln(w)
	t = newTable(w, "ECU", "", "HARDWARE ID", "RUNS", "SHA256", "SINCE")
	for _, e := range o.ECUs {
		kind := "Secondary"
		if e.Primary {
			kind = "Primary"
		}
		t.row(e.EcuSerial, kind, e.HardwareID, text(e.Filename), shortSum(text(e.SHA256)), when(e.InstalledAt))
	}
	for _, a := range o.Assignments {
		t.row(a.Ecu, a.Status, a.HardwareID, a.Filename, "", when(a.CreatedAt))
	}
	return t.end()
}

func showEvents(k *client, c *cobra.Command, given []string) error {
	var list []struct {
		EventType  struct{ ID string }
		ECU        *string
		ReceivedAt time.Time
		Payload    map[string]any
	}
	raw, err := k.get(c.Context(), devicePath(given[0], "/events?limit=200"), &list)
	if err != nil {
		return err
	}
	return k.show(raw, func(w io.Writer) error {
		t := newTable(w, "RECEIVED", "EVENT", "ECU", "SUCCESS", "UPDATE")
		for _, e := range list {
			t.row(e.ReceivedAt.Local().Format("2006-01-02 15:04:05"), e.EventType.ID, text(e.ECU), shown(e.Payload["success"]), shown(e.Payload["correlationId"]))
		}
		return t.end()
	})
}

// shown is a value of an event's payload in one cell.
func shown(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

// changeDevice sends a POST for a device and says what that did.
func changeDevice(path, done string) func(*client, *cobra.Command, []string) error {
	return func(k *client, c *cobra.Command, given []string) error {
		if _, err := k.ask(c.Context(), http.MethodPost, devicePath(given[0], path), nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(k.out, done+"\n", plain(given[0]))
		return nil
	}
}
