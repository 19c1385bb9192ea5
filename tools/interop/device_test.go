//go:build aktualizr

package interop

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// board is one aktualizr with its own folder.
type board struct {
	dir, name, hwid string
	ostree          bool
	patience        time.Duration      // with one run of the client
	secondaryKind   func(i int) string // hardware ids, from 1; "sensor" for all unless given
	s               *server
}

// boardOptions say how a board differs from the plain one: shared credentials,
// a random name, no Secondary, binary images.
type boardOptions struct {
	name        string // "" lets the client choose
	hwid        string
	mode        string // SharedCredReuse unless given
	keyType     string // ED25519 unless given
	secondaries int
	ostree      bool
	pin         bool // import both roots
}

// newBoard writes the configuration of a factory-new device.
func newBoard(t *testing.T, s *server, o boardOptions) *board {
	t.Helper()
	dir, err := os.MkdirTemp("", "board-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the board's folder is kept: %s", dir)
			return
		}
		_ = exec.Command("chattr", "-R", "-i", dir).Run() // deployments are immutable for root
		_ = os.RemoveAll(dir)
	})
	b := &board{dir: dir, name: o.name, hwid: o.hwid, ostree: o.ostree, patience: patience, s: s}
	for _, sub := range []string{"storage", "images", "tmp", "import"} {
		mkdir(t, filepath.Join(dir, sub), 0o700)
	}
	copyFile(t, filepath.Join(s.dir, "sealift-out", "device.zip"), filepath.Join(dir, "device.zip"))
	if o.pin {
		copyTree(t, filepath.Join(s.dir, "sealift-out", "import"), filepath.Join(dir, "import"))
	}
	b.writeSecondaries(t, o.secondaries)
	b.writeConfig(t, o)
	return b
}

func (b *board) writeConfig(t *testing.T, o boardOptions) {
	t.Helper()
	mode, key := o.mode, o.keyType
	if mode == "" {
		mode = "SharedCredReuse"
	}
	if key == "" {
		key = "ED25519"
	}
	var c strings.Builder
	p := func(format string, v ...any) { fmt.Fprintf(&c, format+"\n", v...) }
	p("[logger]\nloglevel = 1")
	p("[provision]\nprovision_path = %q\nmode = %q\nprimary_ecu_hardware_id = %q", filepath.Join(b.dir, "device.zip"), mode, b.hwid)
	if o.name != "" {
		p("device_id = %q\nprimary_ecu_serial = %q", o.name, o.name+"-primary")
	}
	p("[uptane]\nkey_type = %q\npolling_sec = 1\nsecondary_config_file = %q", key, filepath.Join(b.dir, "secondaries.json"))
	p("[storage]\npath = %q", filepath.Join(b.dir, "storage"))
	p("[import]\nbase_path = %q", filepath.Join(b.dir, "import"))
	if mode == "DeviceCred" { // as aktualizr-cert-provider writes them
		p("tls_cacert_path = \"root.crt\"\ntls_clientcert_path = \"client.pem\"\ntls_pkey_path = \"pkey.pem\"")
		p("[tls]\nserver_url_path = %q", filepath.Join(b.dir, "import", "gateway.url"))
	}
	p("[pacman]\nimages_path = %q", filepath.Join(b.dir, "images"))
	if o.ostree {
		p("type = \"ostree\"\nos = \"dummy-os\"\nsysroot = %q\nbooted = \"booted\"\npackages_file = %q", filepath.Join(b.dir, "sysroot"), filepath.Join(b.dir, "package.manifest"))
	} else {
		p("type = \"none\"")
	}
	p("[bootloader]\nreboot_sentinel_dir = %q\nreboot_command = \"/bin/true\"", filepath.Join(b.dir, "session"))
	write(t, filepath.Join(b.dir, "sota.toml"), c.String())
}

// writeSecondaries gives the board n virtual Secondaries.
func (b *board) writeSecondaries(t *testing.T, n int) {
	t.Helper()
	var list []string
	for i := range n {
		d, kind := filepath.Join(b.dir, fmt.Sprintf("sec%d", i+1)), "sensor"
		if b.secondaryKind != nil {
			kind = b.secondaryKind(i + 1)
		}
		mkdir(t, d, 0o700)
		list = append(list, fmt.Sprintf(`{"partial_verifying":false,"ecu_serial":"%s-sensor-%d","ecu_hardware_id":%q,"full_client_dir":%q,"ecu_private_key":"sec.private","ecu_public_key":"sec.public","firmware_path":%q,"target_name_path":%q,"metadata_path":%q}`,
			b.name, i+1, kind, d, filepath.Join(d, "firmware.bin"), filepath.Join(d, "target_name"), filepath.Join(d, "metadata")))
	}
	write(t, filepath.Join(b.dir, "secondaries.json"), `{"virtual":[`+strings.Join(list, ",")+`]}`)
}

func (b *board) env() []string {
	return append(os.Environ(), "TMPDIR="+filepath.Join(b.dir, "tmp"), "HOME="+b.dir, "OSTREE_BOOT_PARTITION=/boot",
		"OSTREE_SHIM_BOOTED="+filepath.Join(b.dir, "booted"))
}

func (b *board) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, filepath.Join(real, "aktualizr"), append([]string{"-c", filepath.Join(b.dir, "sota.toml")}, args...)...)
	c.Dir, c.Env = b.dir, b.env()
	if b.ostree {
		c.Env = append(c.Env, "LD_PRELOAD="+filepath.Join(real, "ostree_booted_shim.so"))
	}
	return c
}

// once runs one cycle and returns the client's log. Its exit code says nothing
// about success; logs and the server do.
func (b *board) once(t *testing.T) string {
	t.Helper()
	return b.cycle(t, "once", b.patience)
}

// cycle runs the client in a mode: once; check, which ends before downloading.
func (b *board) cycle(t *testing.T, mode string, patience time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, _ := b.command(ctx, mode).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("aktualizr %s did not end:\n%s", mode, out)
	}
	return string(out)
}

// daemon starts the client to poll each second and returns what ends it.
func (b *board) daemon(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := b.command(ctx)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() { cancel(); _ = c.Wait() })
}

// reboot emulates one: the newest deployment is booted.
func (b *board) reboot(t *testing.T) {
	t.Helper()
	c := exec.Command("ostree", "admin", "--sysroot="+filepath.Join(b.dir, "sysroot"), "status")
	c.Env = b.env()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("ostree admin status: %v\n%s", err, out)
	}
	newest := regexp.MustCompile(`[0-9a-f]{64}`).Find(out)
	write(t, filepath.Join(b.dir, "booted"), string(newest)+"\n")
	_ = os.Remove(filepath.Join(b.dir, "session", "need_reboot"))
}

// makeSysroot installs a first tree as if the board had been flashed with it.
func (b *board) makeSysroot(t *testing.T, repo, ref string) {
	t.Helper()
	root := filepath.Join(b.dir, "sysroot")
	mkdir(t, root, 0o755)
	ostree := func(args ...string) {
		c := exec.Command("ostree", args...)
		c.Env = append(b.env(), "OSTREE_SYSROOT="+root)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ostree("admin", "init-fs", root)
	ostree("admin", "os-init", "dummy-os")
	ostree("config", "--repo="+root+"/ostree/repo", "set", "core.mode", "bare-user-only")
	mkdir(t, filepath.Join(root, "boot/loader.0"), 0o755)
	if err := os.Symlink("loader.0", filepath.Join(root, "boot/loader")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "boot/loader/uEnv.txt"), "")
	ostree("--repo="+root+"/ostree/repo", "pull-local", repo, ref)
	ostree("admin", "deploy", "--os=dummy-os", ref)
	out, err := exec.Command("ostree", "--repo="+root+"/ostree/repo", "rev-parse", ref).Output()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.dir, "booted"), string(out))
}

// commitTree commits a minimal bootable tree with Debian's ostree.
func commitTree(t *testing.T, repo, ref, content string) (commit string) {
	t.Helper()
	tree := t.TempDir()
	kernel := "kernel of " + ref
	for name, text := range map[string]string{
		"usr/share/app/content": content, "usr/etc/hostname": "board\n",
		"usr/etc/os-release":                "ID=\"dummy-os\"\nNAME=\"Interop\"\nVERSION=\"1\"\n",
		"boot/vmlinuz-" + sha256Hex(kernel): kernel, "boot/initramfs-" + sha256Hex(kernel): "initrd", "var/sota/.keep": "",
	} {
		path := filepath.Join(tree, name)
		mkdir(t, filepath.Dir(path), 0o755)
		write(t, path, text)
	}
	mkdir(t, filepath.Join(tree, "boot/loader.0"), 0o755)
	mkdir(t, filepath.Join(tree, "boot/loader.1"), 0o755)
	if err := os.Symlink("boot/loader.0", filepath.Join(tree, "boot/loader")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(repo, "config")); err != nil {
		if out, err := exec.Command("ostree", "--repo="+repo, "init", "--mode=archive-z2").CombinedOutput(); err != nil {
			t.Fatalf("ostree init: %v\n%s", err, out)
		}
	}
	out, err := exec.Command("ostree", "--repo="+repo, "commit", "--tree=dir="+tree, "--branch="+ref, "--subject="+ref).Output()
	if err != nil {
		t.Fatalf("ostree commit: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// zipNames lists the members of an archive.
func zipNames(t *testing.T, path string) []string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
	}
	return names
}
