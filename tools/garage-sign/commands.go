package main

// commands is everything that can be typed.
func commands() *command {
	return &command{
		options: []option{
			{name: "help", help: "print this and exit"},
			{name: "version", key: "print-version", help: "print the version and exit"},
			{name: "verbose", help: "report every request on stderr"},
			{name: "home-dir", short: "h", arg: "DIR", help: "folder of all repositories (default tuf)"},
			{name: "cacert", arg: "FILE", help: "PEM bundle to trust instead of the system's certificates"},
		},
		subs: []*command{
			{name: "init", help: "make a repository from credentials", run: runInit, options: []option{
				repoOption(),
				{name: "credentials", short: "c", arg: "FILE", required: true, help: "credentials archive"},
				{name: "reposerver", arg: "URL", help: "server, where the archive does not say or is to be overruled"},
				{name: "servertype", short: "t", arg: "TYPE", help: "reposerver (default) or director"},
			}},
			{name: "key", subs: []*command{
				{name: "generate", help: "make a key pair", run: runKeyGenerate, options: append([]option{repoOption(),
					{name: "name", short: "n", arg: "NAME", required: true, help: "name of the key"}}, keyOptions()...)},
			}},
			rootCommands(), targetsCommands(), userKeyCommands(),
			{name: "export-credentials", help: "write a credentials archive with a local key as targets key", run: runExport, options: []option{
				repoOption(),
				{name: "key-name", short: "k", arg: "NAME", required: true, help: "key to put into it"},
				{name: "output", short: "o", arg: "FILE", required: true, help: "archive to write"},
			}},
			{name: "import-client-cert", help: "identify to the server with a certificate from now on", run: runImportCert, options: []option{
				repoOption(),
				{name: "client-cert", short: "c", arg: "FILE", required: true, help: "PKCS#12 with key and certificate, empty password"},
				{name: "server-cert", short: "s", arg: "FILE", help: "PKCS#12 with the only CAs to trust, empty password"},
			}},
			{name: "get-targets", help: "print the server's targets", run: runGetTargets, options: []option{repoOption()}},
			{name: "move-offline", unavailable: true},
			{name: "delegations", subs: []*command{
				{name: "init", unavailable: true}, {name: "add-target", unavailable: true}, {name: "sign", unavailable: true},
				{name: "push", unavailable: true}, {name: "pull", unavailable: true},
			}},
			{name: "sign-json", unavailable: true}, {name: "verify-json", unavailable: true}, {name: "verify-root", unavailable: true},
		},
	}
}

func repoOption() option {
	return option{name: "repo", short: "r", arg: "NAME", required: true, help: "name of the repository"}
}

func keyOptions() []option {
	return []option{
		{name: "type", short: "t", arg: "TYPE", help: "ed25519 (default) or rsa"},
		{name: "keysize", arg: "BITS", help: "of an RSA key: 2048, 3072 (default) or 4096"},
		{name: "sealed", help: "encrypt the private key under a passphrase, as is also done where GARAGE_SIGN_PASSPHRASE or GARAGE_SIGN_PASSPHRASE_FILE is set"},
	}
}

func expiryOptions() []option {
	return []option{
		{name: "expires", arg: "INSTANT", help: "end of validity, as in 2030-01-31T12:00:00Z"},
		{name: "expire-after", arg: "PERIOD", help: "end of validity from now, as in 1Y3M5D"},
		{name: "force", help: "sign even what has expired"},
		{name: "signatures", arg: "NAME=BASE64[,...]", repeated: true, help: "frame the unsigned role with signatures made elsewhere"},
	}
}

func keyNames(required bool) option {
	return option{name: "key-name", short: "k", arg: "NAME", required: required, repeated: true, help: "local key"}
}

func rootCommands() *command {
	role := func(name, key string) *command {
		return &command{name: name, subs: []*command{
			{name: "add", help: "let a local key sign for " + key, run: func(c *call) error { return runKeyAdd(c, key) }, options: []option{keyNames(true)}},
			{name: "remove", help: "no longer let a key sign for " + key, run: func(c *call) error { return runKeyRemove(c, key) }, options: []option{
				keyNames(false), {name: "key-id", arg: "ID", repeated: true, help: "key by its id"}}},
		}}
	}
	return &command{name: "root", options: []option{repoOption()}, subs: []*command{
		{name: "pull", help: "fetch and verify the server's root", run: runRootPull, options: []option{
			{name: "force", help: "take the server's word for it, without verifying the chain from the local root"}}},
		{name: "push", help: "send the signed root", run: runRootPush},
		{name: "twins", help: "sign and send what clients of TUF 1.0 need of roots that were pushed without it", run: runRootTwins},
		{name: "get-unsigned", help: "print the bytes to sign", run: func(c *call) error { return runGetUnsigned(c, "root") }},
		{name: "sign", help: "sign the root", run: runRootSign, options: append([]option{keyNames(false),
			{name: "old-root-alias", arg: "NAME", help: "local key of the root before, to sign with as well"}}, expiryOptions()...)},
		{name: "increment-version", help: "raise the version of the unsigned root", run: func(c *call) error { return runIncrement(c, "root") }},
		{name: "set-threshold", help: "set how many root keys must sign", run: func(c *call) error { return runSetThreshold(c, "root") }, options: []option{thresholdOption()}},
		role("key", "root"), role("targets-key", "targets"),
	}}
}

func thresholdOption() option {
	return option{name: "threshold", short: "t", arg: "N", required: true, help: "number of keys that must sign"}
}

func targetsCommands() *command {
	image := []option{
		{name: "name", arg: "NAME", required: true, help: "name of the image"},
		{name: "version", arg: "VERSION", required: true, help: "version of the image"},
	}
	hardware := []option{
		{name: "hardwareids", arg: "ID[,...]", required: true, help: "kinds of ECU the image is for"},
		{name: "customMeta", arg: "JSON", help: "more members for the custom part"},
	}
	input := option{name: "input", short: "i", arg: "FILE", required: true, help: "the image"}
	join := func(lists ...[]option) []option {
		var all []option
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	return &command{name: "targets", options: []option{repoOption()}, subs: []*command{
		{name: "init", help: "begin targets without any target", run: runTargetsInit, options: []option{
			{name: "version", arg: "N", required: true, help: "version to begin with"},
			{name: "expires", arg: "INSTANT", required: true, help: "end of validity, as in 2030-01-31T12:00:00Z"}}},
		{name: "add", help: "add a target", run: runTargetsAdd, options: join(image, hardware, []option{
			{name: "length", arg: "BYTES", required: true, help: "size of the image, 0 for OSTree"},
			{name: "sha256", arg: "HEX", required: true, help: "hash of the image, the commit for OSTree"},
			{name: "format", arg: "FORMAT", help: "binary (default) or ostree"},
			{name: "url", arg: "URL", help: "where to download the image, other than from the server"}})},
		{name: "add-uploaded", help: "add an uploaded file as target", run: runTargetsAddUploaded, options: join(image, hardware, []option{input})},
		{name: "delete", help: "remove a target", run: runTargetsDelete, options: []option{
			{name: "filename", arg: "NAME", required: true, help: "name-version"}}},
		{name: "get-unsigned", help: "print the bytes to sign", run: func(c *call) error { return runGetUnsigned(c, "targets") }},
		{name: "sign", help: "sign the targets", run: runTargetsSign, options: append([]option{keyNames(false),
			{name: "version", arg: "N", help: "version to give, other than one more than the unsigned targets have"}}, expiryOptions()...)},
		{name: "pull", help: "fetch and verify the server's targets", run: runTargetsPull},
		{name: "push", help: "send the signed targets; where others have pushed since the pull, the same change is made again on theirs. " +
			"Exit code 2 if that cannot be done", run: runTargetsPush, options: []option{
			{name: "once", help: "do not make the change again: exit code 2 if the server's targets have changed since the pull"}}},
		{name: "upload", help: "send an image to the server", run: runTargetsUpload, options: join(image, []option{input,
			{name: "timeout", arg: "SECONDS", help: "longest time for one request (default 3600)"},
			{name: "force", help: "overwrite an image of this name"}})},
		{name: "increment-version", help: "raise the version of the unsigned targets", run: func(c *call) error { return runIncrement(c, "targets") }},
		{name: "set-threshold", help: "set how many targets keys must sign, in the unsigned root", run: func(c *call) error { return runSetThreshold(c, "targets") },
			options: []option{thresholdOption()}},
		{name: "delegations", subs: []*command{{name: "add", unavailable: true}}},
		{name: "verify-uploaded", unavailable: true},
		{name: "clean-ostree-storage", unavailable: true},
	}}
}

func userKeyCommands() *command {
	return &command{name: "user-keys", options: []option{{name: "keys-path", short: "p", arg: "DIR", help: "folder of the keys (default user-keys in the home)"}},
		subs: []*command{
			{name: "gen", help: "make a key pair of your own", run: runUserKeyGen, options: append([]option{
				{name: "key-name", short: "k", arg: "NAME", required: true, help: "name of the key"}}, keyOptions()...)},
			{name: "id", help: "print the id of a public key", run: runUserKeyID, options: []option{
				{name: "input", short: "i", arg: "FILE", required: true, help: "public key file"}}},
			{name: "importpub", help: "keep somebody else's public key in a repository", run: runImportPublic, options: []option{
				repoOption(),
				{name: "key-name", short: "k", arg: "NAME", required: true, help: "name of the key"},
				{name: "input", short: "i", arg: "FILE", required: true, help: "public key in PEM"}}},
		}}
}
