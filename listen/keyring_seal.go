package listen

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"strconv"
)

const (
	secretSize = 32
	keyIDSize  = 16
)

// ring is the keys that are in use in an epoch. It does not change.
type ring struct {
	epoch int64
	with  *ticketKey                     // what is new is sealed with
	all   map[[keyIDSize]byte]*ticketKey // and these open
}

// ticketKey seals tickets by AES-256-GCM. Its nonces are random, which is good
// for 2³² tickets: 100,000 a second, for an epoch.
type ticketKey struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// newRing derives the keys of an epoch, the one before and the next.
func newRing(epoch int64, s *secrets) *ring {
	r := &ring{epoch: epoch, all: make(map[[keyIDSize]byte]*ticketKey)}
	for _, e := range []int64{epoch, epoch - 1, epoch + 1} {
		of := s.Shared
		if secret := s.Random[e]; len(of) == 0 && secret != nil {
			of = [][]byte{secret}
		}
		for _, secret := range of {
			key := newTicketKey(secret, e)
			r.all[key.id] = key
			if r.with == nil {
				r.with = key
			}
		}
	}
	return r
}

func newTicketKey(secret []byte, epoch int64) *ticketKey {
	b := derive(secret, "session ticket "+strconv.FormatInt(epoch, 10), keyIDSize+secretSize)
	block, err := aes.NewCipher(b[keyIDSize:])
	if err != nil {
		panic(err) // the size is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block's size is right
	}
	return &ticketKey{[keyIDSize]byte(b), aead}
}

// derive returns n bytes by HKDF (RFC 5869).
func derive(secret []byte, use string, n int) []byte {
	b, err := hkdf.Key(sha256.New, secret, nil, "fairlead "+use, n)
	if err != nil {
		panic(err) // n is small, and a secret long enough for FIPS 140
	}
	return b
}

// seal returns the id of the key and then what it seals.
func (r *ring) seal(state []byte) []byte {
	ticket := make([]byte, keyIDSize, keyIDSize+len(state)+r.with.aead.Overhead())
	copy(ticket, r.with.id[:])
	return r.with.aead.Seal(ticket, nil, state, r.with.id[:]) //nolint:gosec // it makes the nonce itself
}

// open returns nil for a ticket that no key of the ring has sealed.
func (r *ring) open(ticket []byte) []byte {
	if len(ticket) < keyIDSize {
		return nil
	}
	key := r.all[[keyIDSize]byte(ticket)]
	if key == nil {
		return nil
	}
	state, err := key.aead.Open(nil, nil, ticket[keyIDSize:], key.id[:])
	if err != nil {
		return nil
	}
	return state
}
