package director

import "sealift/internal/fault"

// What a caller may be told. The codes are part of the interface; those that
// other servers of this protocol use keep their spelling.
var (
	// ErrNotRegistered: the device has no ECU registered here.
	ErrNotRegistered = fault.New(fault.NotFound, "device_missing_primary_ecu", "the device has not registered its ECUs")
	// ErrNoMetadata: the Director has no document of that name.
	ErrNoMetadata = fault.New(fault.NotFound, "missing_metadata", "no such metadata")
	// ErrRegistration: a list of ECUs breaks a rule.
	ErrRegistration = fault.New(fault.Invalid, "invalid_entity", "the list of ECUs is not acceptable")
	// ErrPrimaryNotListed: a list of ECUs leaves out its Primary.
	ErrPrimaryNotListed = fault.New(fault.Invalid, "primary_is_not_listed_for_device", "the Primary is not among the ECUs")
	// ErrKeyInUse: the public key of an ECU belongs to another device.
	ErrKeyInUse = fault.New(fault.Conflict, "ecu_key_in_use", "the public key belongs to another device")
	// ErrKeyNotApproved: a known ECU brought another key than before.
	ErrKeyNotApproved = fault.New(fault.Conflict, "ecu_key_not_approved", "a new key for a known ECU needs an approval")
	// ErrSignature: a manifest is not signed as it must be, or is misshapen.
	ErrSignature = fault.New(fault.Invalid, "signature_not_valid", "the manifest is not validly signed")
	// ErrUnknownECU: a manifest or request names an ECU the device does not have.
	ErrUnknownECU = fault.New(fault.Invalid, "unknown_ecu", "the device has no such ECU")
	// ErrUnknownKey: there is no such ECU, or its key is not known.
	ErrUnknownKey = fault.New(fault.NotFound, "missing_entity", "no public key of such an ECU")
	// ErrNotPrimary: a manifest names another Primary than the registered one.
	ErrNotPrimary = fault.New(fault.Invalid, "ecu_not_primary", "the manifest names another Primary than the registered one")
	// ErrReplay: a manifest's report_counter was used before.
	ErrReplay = fault.New(fault.Invalid, "manifest_replayed", "the manifest's report_counter is not above the last one")
	// ErrInvalidUpdate: an update breaks a rule.
	ErrInvalidUpdate = fault.New(fault.Invalid, "invalid_mtu", "the update is not acceptable")
	// ErrUnknownUpdate: there is no such update.
	ErrUnknownUpdate = fault.New(fault.NotFound, "missing_entity", "no such update")
	// ErrTargetsExpired: nobody may be given an image, because the metadata that list
	// it have expired; people sign them, offline.
	ErrTargetsExpired = fault.New(fault.Conflict, "targets_expired", "the offline-signed metadata that list the image have expired, so devices refuse it until they are signed again")
	// ErrInFlight: the device has been told already, so cancelling needs force.
	ErrInFlight = fault.New(fault.Conflict, "assignment_in_flight_devices", "the device has been told already; cancelling needs force")
	// ErrRootExpired: nothing can be signed until the root is renewed.
	ErrRootExpired = fault.New(fault.Unavailable, "root_expired", "the Director's root has expired")
	// ErrRefusedDocument: what was signed for a device is not what it would accept.
	// It is wrong on the server's side, so the device is told to come again.
	ErrRefusedDocument = fault.New(fault.Unavailable, "document_refused", "the metadata would not be accepted by the device, so they are not served")
	// ErrBusy: the device's state or the root changed again and again meanwhile.
	ErrBusy = fault.New(fault.Unavailable, "try_again", "the metadata are changing, try again")
)

// Why an ECU gets no assignment.
var (
	refuseNoHardware  = fault.New(fault.Invalid, "device_no_compatible_hardware", "no ECU of the device has a hardware id of the update")
	refuseFrom        = fault.New(fault.Invalid, "not_affected_by_mtu", "the ECU does not run the image the update starts from")
	refuseInstalled   = fault.New(fault.Invalid, "installed_target_is_update", "the ECU runs that image already")
	refuseRunning     = fault.New(fault.Invalid, "not_affected_running_assignment", "the ECU has an assignment already")
	refuseNoTarget    = fault.New(fault.Invalid, "target_not_found", "the image is not in the Image repository's signed targets")
	refuseChanged     = fault.New(fault.Invalid, "target_changed", "the image's signed targets entry has changed since the update was made")
	refuseHardware    = fault.New(fault.Invalid, "target_hardware_mismatch", "the image is not made for the ECU's hardware id")
	refuseSameName    = fault.New(fault.Invalid, "installed_target_differs", "the ECU runs another image of the same name, which clients refuse to replace")
	refuseFormat      = fault.New(fault.Invalid, "target_format_mismatch", "the ECU runs images of another format")
	refuseDelegated   = fault.New(fault.Invalid, "target_delegated", "the image is in a delegated role, and the device has Secondaries, which know the top level only and would refuse the whole update")
	refuseTooLarge    = fault.New(fault.Invalid, "targets_too_large", "the device's targets would grow beyond what clients read")
	refuseUnavailable = fault.New(fault.Unavailable, "image_repository_unavailable", "the Image repository could not be asked")
)
