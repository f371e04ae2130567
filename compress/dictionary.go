package compress

// Dictionary is what a client and the server both have (RFC 9842).
type Dictionary struct{}
