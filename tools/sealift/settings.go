package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// settings is everything that can be configured. A value comes from, in this
// order: the flag, the variable SEALIFT_NAME, the file given with --config
// (YAML, the flags' names as keys) or else what init noted in the data folder,
// the default.
type settings struct {
	Data           string
	MasterKey      string
	DatabaseURL    string
	BlobsURL       string
	ListenGateway  string
	ListenAPI      string
	ListenMetrics  string
	GatewayURL     string
	APIURL         string
	Hostnames      []string
	IPs            []string
	Dev            bool
	APICert        string
	APIKey         string
	GatewayCert    string
	GatewayKey     string
	LogFormat      string
	LogLevel       string
	MasterPassFile string
	MasterKeyURL   string
	OnlineToken    string
	RecordHeads    []string
	PrivateRemotes bool
}

// settingFlags declares the settings as flags; the flag set is the one list
// of names, defaults and explanations.
func settingFlags(s *settings) *pflag.FlagSet {
	f := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	f.StringVar(&s.Data, "data", "./sealift-data", "folder of the database, the blobs and the TLS files")
	f.StringVar(&s.MasterKey, "master-key", "", "file of the master key (default: beside --data, never inside it)")
	f.StringVar(&s.MasterPassFile, "master-passphrase-file", "", "file with the passphrase that seals the master key")
	f.StringVar(&s.MasterKeyURL, "master-key-url", "", "key service that holds the master key instead of the file, such as awskms:///alias/NAME?region=...")
	f.StringVar(&s.OnlineToken, "online-token", "", "PKCS#11 token in which new online keys are made, such as pkcs11:token=NAME, instead of the database; its PIN is in PKCS11_PIN or in the file of PKCS11_PIN_FILE")
	f.StringVar(&s.DatabaseURL, "database-url", "", "PostgreSQL to use instead of the SQLite file in --data")
	f.StringVar(&s.BlobsURL, "blobs-url", "", "bucket to use instead of the folder in --data, such as s3://BUCKET?region=...")
	f.StringVar(&s.ListenGateway, "listen-gateway", "127.0.0.1:8443", "address for devices (TLS)")
	f.StringVar(&s.ListenAPI, "listen-api", "127.0.0.1:9443", "address for people and builds")
	f.StringVar(&s.ListenMetrics, "listen-metrics", "127.0.0.1:9090", "address for Prometheus; empty switches it off")
	f.StringVar(&s.GatewayURL, "gateway-url", "", "URL that devices use, such as https://ota.example.com:8443")
	f.StringVar(&s.APIURL, "api-url", "", "URL that people and builds use, such as https://ota.example.com:9443")
	f.StringSliceVar(&s.Hostnames, "hostname", nil, "further names of this server in its certificate (repeatable)")
	f.StringSliceVar(&s.IPs, "ip", nil, "addresses of this server in its certificate (repeatable)")
	f.BoolVar(&s.Dev, "dev", false, "allow localhost as the only name; for trying out")
	f.StringVar(&s.APICert, "api-cert", "", "certificate for the api instead of one of the server's own CA")
	f.StringVar(&s.APIKey, "api-key", "", "key of --api-cert")
	f.StringVar(&s.GatewayCert, "gateway-cert", "", "certificate chain that devices of a server which this one replaces trust; those that ask for a host name which it does not have, and --gateway-url has, are shown one of our own CA")
	f.StringVar(&s.GatewayKey, "gateway-key", "", "key of --gateway-cert")
	f.StringSliceVar(&s.RecordHeads, "record-heads", nil, "where heads of the record go: stdout, the URL of a webhook or of a bucket (repeatable)")
	f.BoolVar(&s.PrivateRemotes, "private-remotes", false, "fetch delegations and images from private and local addresses, too, when somebody with a token for signing asks for it")
	f.StringVar(&s.LogFormat, "log-format", "text", "text or json")
	f.StringVar(&s.LogLevel, "log-level", "info", "debug, info, warn or error")
	return f
}

// bind adds the settings to a command; load fills them in before it runs.
func (s *settings) bind(c *cobra.Command) {
	c.Flags().AddFlagSet(settingFlags(s))
	c.Flags().String("config", "", "YAML file of settings")
}

// dataSettings say where the data are and what opens them.
var dataSettings = []string{"data", "database-url", "blobs-url", "master-key", "master-passphrase-file", "master-key-url"}

// bindData is bind for a command that opens the data and serves nobody: its help
// names no settings of listeners. They are taken all the same, because a file or the
// environment may hold them.
func (s *settings) bindData(c *cobra.Command) {
	s.bind(c)
	settingFlags(&settings{}).VisitAll(func(f *pflag.Flag) {
		c.Flags().Lookup(f.Name).Hidden = !slices.Contains(dataSettings, f.Name)
	})
}

// load fills in what the command line left open and returns where each value
// came from. An unknown key in the file is an error, not a warning.
func (s *settings) load(c *cobra.Command) (map[string]string, error) {
	names := settingFlags(&settings{})
	if err := checkVariables(os.Environ(), names); err != nil {
		return nil, usage(err)
	}
	flags := c.Flags()
	path, _ := flags.GetString("config")
	if path == "" {
		path = os.Getenv("SEALIFT_CONFIG")
	}
	file, err := readSettingsFile(path, names)
	if err != nil {
		return nil, usage(err)
	}
	if path == "" {
		if file, path, err = savedSettings(flags, names); err != nil {
			return nil, usage(err)
		}
	}
	source := map[string]string{}
	names.VisitAll(func(f *pflag.Flag) {
		env := variableOf(f.Name)
		value, inEnv := os.LookupEnv(env)
		fromFile, inFile := file[f.Name]
		switch {
		case flags.Changed(f.Name):
			source[f.Name] = "--" + f.Name
		case inEnv:
			source[f.Name] = env
			err = errors.Join(err, wrapSetting(env, flags.Set(f.Name, value)))
		case inFile:
			source[f.Name] = path
			err = errors.Join(err, wrapSetting(path+": "+f.Name, flags.Set(f.Name, fromFile)))
		default:
			source[f.Name] = "default"
		}
	})
	if err != nil {
		return nil, usage(err)
	}
	return source, s.complete()
}

// variableOf is the environment variable of a setting.
func variableOf(name string) string {
	return "SEALIFT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// otherVariables are those of Sealift that are no settings.
var otherVariables = []string{"SEALIFT_CONFIG", "SEALIFT_OPERATOR", "SEALIFT_PASSPHRASE", "SEALIFT_PASSPHRASE_FILE"}

// injected matches variables that Kubernetes sets for services called sealift or
// sealift-something, and those of tests.
const injected = `^SEALIFT_(TEST_|([A-Z0-9_]+_)?(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT_[0-9]+_(TCP|UDP|SCTP)|PORT=[a-z]+://))`

// checkVariables refuses variables that would be ignored.
func checkVariables(environ []string, known *pflag.FlagSet) error {
	ours, foreign := map[string]bool{}, regexp.MustCompile(injected)
	known.VisitAll(func(f *pflag.Flag) { ours[variableOf(f.Name)] = true })
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "SEALIFT_") || ours[name] || slices.Contains(otherVariables, name) || foreign.MatchString(entry) {
			continue
		}
		return fmt.Errorf("variable %s: unknown setting; known are %s", name, strings.Join(settingNames(known), ", "))
	}
	return nil
}

// savedSettings is what init noted in the data folder, if there is one and
// nobody named another file.
func savedSettings(flags, known *pflag.FlagSet) (map[string]string, string, error) {
	data := flags.Lookup("data").Value.String()
	if env, ok := os.LookupEnv("SEALIFT_DATA"); ok && !flags.Changed("data") {
		data = env
	}
	path := settings{Data: data}.settingsFile()
	if _, err := os.Stat(path); err != nil {
		return nil, "", nil
	}
	file, err := readSettingsFile(path, known)
	return file, path, err
}

func wrapSetting(where string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", where, settingError(err))
}

// complete derives the defaults that depend on other settings and refuses
// what cannot work.
func (s *settings) complete() error {
	data, err := filepath.Abs(s.Data)
	if err != nil {
		return fmt.Errorf("reading --data: %w", err)
	}
	s.Data = data
	if s.MasterKey == "" {
		s.MasterKey = data + ".master-key"
	}
	if s.MasterKey, err = filepath.Abs(s.MasterKey); err != nil {
		return fmt.Errorf("reading --master-key: %w", err)
	}
	if inside(s.MasterKey, data) {
		return usage(fmt.Errorf("--master-key %s is inside --data: a copy of the folder would carry its own key; put it elsewhere", s.MasterKey))
	}
	if (s.APICert == "") != (s.APIKey == "") {
		return usage(errors.New("--api-cert and --api-key go together"))
	}
	if (s.GatewayCert == "") != (s.GatewayKey == "") {
		return usage(errors.New("--gateway-cert and --gateway-key go together"))
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		return usage(fmt.Errorf("--log-format %q: text or json", s.LogFormat))
	}
	return nil
}

// inside says whether path lies in folder, or is it.
func inside(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// readSettingsFile reads the YAML file as texts by name. Names may be written
// with - or _.
func readSettingsFile(path string, known *pflag.FlagSet) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("reading settings of %s: %w", path, err)
	}
	found := map[string]string{}
	for key, value := range values {
		name := strings.ReplaceAll(key, "_", "-")
		if known.Lookup(name) == nil {
			return nil, fmt.Errorf("%s: unknown setting %q; known are %s", path, key, strings.Join(settingNames(known), ", "))
		}
		found[name] = settingText(value)
	}
	return found, nil
}

// settingText writes a YAML value as a flag takes it.
func settingText(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ",")
}

func settingNames(known *pflag.FlagSet) []string {
	var names []string
	known.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	sort.Strings(names)
	return names
}
