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
				{name: "propose", help: "leave the private key out: what is signed with the archive waits at the server for others to sign"},
				{name: "reseal", help: "seal the private key under another passphrase: GARAGE_SIGN_ARCHIVE_PASSPHRASE, GARAGE_SIGN_ARCHIVE_PASSPHRASE_FILE or one that is asked for"},
			}},
			{name: "import-client-cert", help: "identify to the server with a certificate from now on", run: runImportCert, options: []option{
				repoOption(),
				{name: "client-cert", short: "c", arg: "FILE", required: true, help: "PKCS#12 with key and certificate, empty password"},
				{name: "server-cert", short: "s", arg: "FILE", help: "PKCS#12 with the only CAs to trust, empty password"},
			}},
			{name: "get-targets", help: "print the server's targets", run: runGetTargets, options: []option{repoOption()}},
			{name: "move-offline", help: "take the root key from the server and publish a root with keys that never were there", run: runMoveOffline, options: []option{
				repoOption(),
				{name: "old-root-alias", arg: "NAME", required: true, help: "local name that the old root key has or gets"},
				{name: "new-root", arg: "NAME", help: "local key that is to sign roots from now on"},
				{name: "new-targets", arg: "NAME", help: "local key that is to sign targets from now on"},
				{name: "old-keyid", arg: "ID", help: "root key to replace (default: the last one of the root)"},
				sealedOption()}},
			delegationsCommands(),
			{name: "sign-json", help: "sign JSON of any kind", run: runSignJSON, options: []option{
				{name: "priv-key", short: "k", arg: "FILE", required: true, help: "private key file"},
				{name: "pub-key", short: "p", arg: "FILE", help: "its public key file"},
				{name: "input", short: "i", arg: "FILE", required: true, help: "what to sign"}}},
			{name: "verify-json", help: "check what sign-json printed", run: runVerifyJSON, options: []option{
				{name: "priv-key", short: "k", arg: "FILE", help: "not needed"},
				{name: "pub-key", short: "p", arg: "FILE", required: true, help: "public key file"},
				{name: "input", short: "i", arg: "FILE", required: true, help: "what was signed"}}},
			{name: "verify-root", help: "check a root by its own signatures and the local root", run: runVerifyRoot, options: []option{
				repoOption(),
				{name: "input", short: "i", arg: "FILE", help: "root to check (default: the local one)"}}},
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
		sealedOption(),
		{name: "pkcs11", arg: "URI", help: "key in a PKCS#11 token, as in pkcs11:token=sealift;object=root, which is made if it is not there; or in AWS KMS, as in awskms:///alias/NAME"},
	}
}

func sealedOption() option {
	return option{name: "sealed", help: "encrypt the private key under a passphrase, as is also done where GARAGE_SIGN_PASSPHRASE or GARAGE_SIGN_PASSPHRASE_FILE is set"}
}

func expiryOptions() []option {
	return []option{
		{name: "expires", arg: "INSTANT", help: "end of validity, as in 2030-01-31T12:00:00Z"},
		{name: "expire-after", arg: "PERIOD", help: "end of validity from now, as in 1Y3M5D"},
		{name: "force", help: "sign even what has expired"},
		{name: "signatures", arg: "NAME=BASE64[,...]", repeated: true, help: "frame the unsigned role with signatures made elsewhere"},
	}
}

func yesOption() option { return option{name: "yes", help: "sign without asking"} }

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
		{name: "propose", help: "let what the unsigned root says wait at the server until enough keys have signed", run: runRootPropose, options: append([]option{
			{name: "key-name", short: "k", arg: "NAME", repeated: true, help: "local key that signs at once (default: nobody signs yet)"},
			{name: "replace", help: "give up the root that waits already, and its signatures"}, yesOption()}, expiryOptions()[:2]...)},
		{name: "cosign", help: "show a root that waits at the server, or came as a file, and sign it", run: runRootCosign, options: []option{
			{name: "input", short: "i", arg: "FILE", help: "root.json of another repository, its root.tuf.json beside it, instead of what waits at the server"},
			{name: "key-name", short: "k", arg: "NAME", repeated: true, help: "local key that signs (default: only show, and take over the signatures of a file)"},
			{name: "output", short: "o", arg: "FILE", help: "with --input, where to write the result for the next who signs"}, yesOption()}},
		{name: "publish", help: "make the root that waits at the server the one in force, once enough keys have signed", run: runRootPublish},
		{name: "withdraw", help: "give up the root that waits at the server", run: runRootWithdraw},
		{name: "increment-version", help: "raise the version of the unsigned root", run: func(c *call) error { return runIncrement(c, "root") }},
		{name: "set-threshold", help: "set how many root keys must sign", run: func(c *call) error { return runSetThreshold(c, "root") }, options: []option{thresholdOption()}},
		role("key", "root"), role("targets-key", "targets"),
	}}
}

func thresholdOption() option {
	return option{name: "threshold", short: "t", arg: "N", required: true, help: "number of keys that must sign"}
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
				keyNames(true),
				{name: "input", short: "i", arg: "FILE", required: true, help: "public key in PEM, or a .pub file"}}},
		}}
}
