package main

// imageOptions name an image; its file name is made of both.
func imageOptions() []option {
	return []option{
		{name: "name", arg: "NAME", required: true, help: "name of the image"},
		{name: "version", arg: "VERSION", required: true, help: "version of the image"},
	}
}

func hardwareOptions() []option {
	return []option{
		{name: "hardwareids", arg: "ID[,...]", required: true, help: "kinds of ECU the image is for"},
		{name: "customMeta", arg: "JSON", help: "more members for the custom part"},
		{name: "release", arg: "N", help: "release counter, where it must be higher than counting here gives: ECUs refuse lower ones than they have"},
	}
}

func contentOptions() []option {
	return []option{
		{name: "length", arg: "BYTES", required: true, help: "size of the image, 0 for OSTree"},
		{name: "sha256", arg: "HEX", required: true, help: "hash of the image, the commit for OSTree"},
		{name: "format", arg: "FORMAT", help: "binary (default) or ostree"},
		{name: "url", arg: "URL", help: "where to download the image, other than from the server"},
	}
}

func inputOption(help string) option {
	return option{name: "input", short: "i", arg: "FILE", required: true, help: help}
}

func join(lists ...[]option) []option {
	var all []option
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func targetsCommands() *command {
	return &command{name: "targets", options: []option{repoOption()}, subs: []*command{
		{name: "init", help: "begin targets without any target", run: runTargetsInit, options: []option{
			{name: "version", arg: "N", required: true, help: "version to begin with"},
			{name: "expires", arg: "INSTANT", required: true, help: "end of validity, as in 2030-01-31T12:00:00Z"}}},
		{name: "add", help: "add a target", run: runTargetsAdd, options: join(imageOptions(), hardwareOptions(), contentOptions())},
		{name: "add-uploaded", help: "add an uploaded file as target", run: runTargetsAddUploaded, options: join(imageOptions(), hardwareOptions(), []option{inputOption("the image"),
			{name: "verifyIntegrity", help: "make sure first that the server has just these bytes"}})},
		{name: "delete", help: "remove a target", run: runTargetsDelete, options: []option{
			{name: "filename", arg: "NAME", required: true, help: "name-version"}}},
		{name: "get-unsigned", help: "print the bytes to sign", run: func(c *call) error { return runGetUnsigned(c, "targets") }},
		{name: "sign", help: "sign the targets", run: runTargetsSign, options: append([]option{keyNames(false),
			{name: "version", arg: "N", help: "version to give, other than one more than the unsigned targets have"}}, expiryOptions()...)},
		{name: "pull", help: "fetch and verify the server's targets", run: runTargetsPull},
		{name: "push", help: "send the signed targets; where others have pushed since the pull, the same change is made again on theirs. " +
			"Exit code 2 if that cannot be done", run: runTargetsPush, options: []option{
			{name: "once", help: "do not make the change again: exit code 2 if the server's targets have changed since the pull"}}},
		{name: "propose", help: "let the unsigned targets wait at the server until enough keys have signed", run: runPropose, options: append([]option{
			{name: "key-name", short: "k", arg: "NAME", repeated: true, help: "local key that signs at once (default: nobody signs yet)"}}, expiryOptions()[:2]...)},
		{name: "cosign", help: "show what is proposed, and sign it; the last signature that is needed publishes", run: runCosign, options: []option{
			{name: "key-name", short: "k", arg: "NAME", repeated: true, help: "local key that signs (default: only show)"}, yesOption()}},
		{name: "withdraw", help: "give up what is proposed", run: runWithdraw},
		{name: "upload", help: "send an image to the server", run: runTargetsUpload, options: join(imageOptions(), []option{inputOption("the image"),
			{name: "timeout", arg: "SECONDS", help: "longest time for one request (default 3600)"},
			{name: "force", help: "overwrite an image of this name"}})},
		{name: "increment-version", help: "raise the version of the unsigned targets", run: func(c *call) error { return runIncrement(c, "targets") }},
		{name: "set-threshold", help: "set how many targets keys must sign, in the unsigned root", run: func(c *call) error { return runSetThreshold(c, "targets") },
			options: []option{thresholdOption()}},
		targetsDelegations(),
		{name: "verify-uploaded", help: "compare a file with what the server has", run: runVerifyUploaded, options: join(imageOptions(), []option{inputOption("the image")})},
		{name: "clean-ostree-storage", help: "ask the server to delete commits that no target names", run: runCleanOSTree},
	}}
}

func targetsDelegations() *command {
	name := option{name: "name", short: "n", arg: "NAME", required: true, help: "name of the role"}
	return &command{name: "delegations", subs: []*command{
		{name: "add", help: "let others sign for a part of the targets", run: runDelegate, options: []option{name,
			{name: "prefix", short: "p", arg: "PATTERN", required: true, repeated: true, help: "file names they may sign for, as in supplier-*"},
			{name: "key", short: "k", arg: "FILE", required: true, repeated: true, help: "public key file"},
			{name: "threshold", arg: "N", help: "how many of the keys must sign (default 1)"},
			{name: "not-terminating", help: "ask further roles about file names that this one does not list"}}},
		{name: "remove", help: "no longer delegate to a role", run: runUndelegate, options: []option{name}},
		{name: "list", help: "print whom the unsigned targets delegate to", run: runDelegationList},
	}}
}

// delegationsCommands are for those whom targets delegate to.
func delegationsCommands() *command {
	file := inputOption("metadata file of the role")
	inplace := option{name: "inplace", short: "e", help: "change the file instead of printing the result"}
	name := option{name: "name", short: "n", arg: "NAME", required: true, help: "name of the role"}
	return &command{name: "delegations", subs: []*command{
		{name: "init", help: "print metadata of a role to begin with", run: runDelegatedInit},
		{name: "add-target", help: "add a target", run: runDelegatedAdd, options: join(imageOptions(), hardwareOptions(), contentOptions(), []option{file, inplace})},
		{name: "remove-target", help: "remove a target", run: runDelegatedRemove, options: []option{file, inplace,
			{name: "filename", arg: "NAME", required: true, help: "name-version"}}},
		{name: "sign", help: "sign metadata of a role", run: runDelegatedSign, options: append([]option{keyNames(true),
			{name: "keys-path", short: "p", arg: "DIR", help: "folder of the keys (default user-keys in the home)"}, file, inplace}, expiryOptions()[:2]...)},
		{name: "push", help: "send signed metadata of a role", run: runDelegatedPush, options: []option{repoOption(), name, file}},
		{name: "pull", help: "fetch and verify metadata of a role", run: runDelegatedPull, options: []option{repoOption(), name,
			{name: "output", short: "o", arg: "FILE", help: "where to write them instead of printing them"},
			{name: "unsigned", help: "the payload alone, one version on: what to edit and sign next"}}},
		{name: "export-credentials", help: "write a credentials archive for somebody who signs for a role, with a token of its own and no key", run: runDelegatedExport, options: []option{repoOption(),
			{name: "token", arg: "FILE", required: true, help: "file with the token, as sealift token create --scope delegation:ROLE prints it"},
			{name: "output", short: "o", arg: "FILE", required: true, help: "archive to write"}}},
	}}
}
