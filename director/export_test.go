package director

// The statements behind an idle device's poll and manifest.
const (
	PollQuery = pollQuery
	ECUQuery  = ecuQuery
	OpenQuery = openQuery
)
