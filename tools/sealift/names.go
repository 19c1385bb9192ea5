package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"sealift/keys/pki"
)

// names are those the server's certificate carries: of both URLs and of the
// flags; with --dev this machine's own too.
func (s settings) names() (pki.Names, error) {
	var n pki.Names
	add := func(host string) {
		if ip := net.ParseIP(host); ip != nil {
			n.IPs = append(n.IPs, ip)
		} else if host != "" {
			n.DNS = append(n.DNS, host)
		}
	}
	for _, raw := range []string{s.GatewayURL, s.APIURL} {
		u, err := url.Parse(raw)
		if err != nil {
			return n, fmt.Errorf("reading %q: %w", raw, err)
		}
		add(u.Hostname())
	}
	for _, name := range s.Hostnames {
		add(name)
	}
	for _, text := range s.IPs {
		if net.ParseIP(text) == nil {
			return n, fmt.Errorf("--ip %q is not an address", text)
		}
		add(text)
	}
	if s.Dev {
		add("localhost")
		add("127.0.0.1")
		add("::1")
	}
	return n.Normal()
}

// loopback is a listening address as clients on this machine write it.
func loopback(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	if host == "127.0.0.1" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// settingsFile is where init notes what it was told, so that serve needs no
// flags; it comes after flags, variables and --config.
func (s settings) settingsFile() string { return filepath.Join(s.Data, "config.yaml") }

// save writes the settings that describe this installation.
func (s settings) save() error {
	kept := map[string]any{
		"gateway-url": s.GatewayURL, "api-url": s.APIURL, "listen-gateway": s.ListenGateway, "listen-api": s.ListenAPI,
		"listen-metrics": s.ListenMetrics, "master-key": s.MasterKey, "dev": s.Dev,
	}
	if len(s.Hostnames) > 0 {
		kept["hostname"] = s.Hostnames
	}
	if len(s.IPs) > 0 {
		kept["ip"] = s.IPs
	}
	if s.MasterPassFile != "" {
		kept["master-passphrase-file"] = s.MasterPassFile
	}
	if s.keepsURL() {
		kept["master-key-url"] = s.MasterKeyURL
	}
	if s.OnlineToken != "" {
		kept["online-token"] = s.OnlineToken
	}
	out, err := yaml.Marshal(kept)
	if err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	if err := os.WriteFile(s.settingsFile(), out, 0o600); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}
