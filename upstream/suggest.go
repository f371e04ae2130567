package upstream

// Suggestion is how many connections the observed load asks for, by Little's
// law: requests a second × seconds that each holds a connection.
type Suggestion struct {
	Concurrency float64 `json:"concurrency"` // rate × hold, averaged over the last minute
	Peak        int     `json:"peak"`        // most requests at once in that time
	Rate        float64 `json:"rate"`        // requests a second
	Hold        float64 `json:"hold_seconds"`
	Connections int     `json:"connections"` // that Connections.Max should allow in total; 0: too little was seen to say
	Why         string  `json:"why"`         // the sum, and whether more or fewer would do
}
