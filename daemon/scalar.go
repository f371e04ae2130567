package daemon

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead/capture"
	"github.com/fairlead-edge/fairlead/topic"
)

// scalar is a value that is written as one word or line.
type scalar interface{ parse(text string) error }

// Duration is a time span, written "250ms", "10s", "5m" or "1h30m".
type Duration time.Duration

func (d *Duration) parse(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration; write a number and its unit, like 250ms, 10s, 5m or 24h", text)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative", text)
	}
	*d = Duration(v)
	return nil
}

// String returns the duration as it is written, without units that are zero.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Size is a number of bytes, written "512", "64KiB", "16MiB" or "1GiB".
type Size int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func (s *Size) parse(text string) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size; write a whole number of bytes, or one with KiB, MiB or GiB, like 64MiB", text)
}

// String returns the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && u.suffix != "" && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Share is a part of a whole, written "0.2" or "20%".
type Share float64

func (s *Share) parse(text string) error {
	digits, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v >= 0 && v <= 1) { //nolint:staticcheck // NaN is neither
		return fmt.Errorf("%q is not a share; write a number from 0 to 1, like 0.2, or 20%%", text)
	}
	*s = Share(v)
	return nil
}

// Prefix is a range of addresses, written "10.0.0.0/8", or one address.
type Prefix netip.Prefix

func (p *Prefix) parse(text string) error {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		*p = Prefix(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		return nil
	}
	v, err := netip.ParsePrefix(text)
	if err != nil {
		return fmt.Errorf("%q is neither an address nor a range of them; write 10.0.0.1 or 10.0.0.0/8", text)
	}
	*p = Prefix(v.Masked())
	return nil
}

func (p *Pattern) parse(text string) (err error) {
	*p, err = ParsePattern(text)
	return err
}

// Delivery is a delivery policy; see [topic.ParseDeliver].
type Delivery struct{ topic.Policy }

func (d *Delivery) parse(text string) error {
	p, err := topic.ParseDeliver(text)
	if err != nil {
		return without("topic: ", err)
	}
	d.Policy = p
	return nil
}

// OnLag says what becomes of a reader that falls behind: "gap" or "close".
type OnLag topic.OnLag

func (o *OnLag) parse(text string) error {
	return choose(o, text, choice[OnLag]{"gap", OnLag(topic.LagGap)}, choice[OnLag]{"close", OnLag(topic.LagClose)})
}

// Record says which responses are recorded; see [capture.ParseRecord].
type Record capture.Record

func (r *Record) parse(text string) error {
	v, err := capture.ParseRecord(text)
	*r = Record(v)
	return without("capture: ", err)
}

// OnDisconnect says what becomes of a call whose readers have left; see
// [capture.ParseOnDisconnect].
type OnDisconnect capture.OnDisconnect

func (o *OnDisconnect) parse(text string) error {
	v, err := capture.ParseOnDisconnect(text)
	*o = OnDisconnect(v)
	return without("capture: ", err)
}

// Owner names a part of a request that identifies the caller; see
// [capture.ParseIdentity].
type Owner capture.Identity

func (o *Owner) parse(text string) error {
	v, err := capture.ParseIdentity(text)
	*o = Owner(v)
	return without("capture: ", err)
}

func (e *End) parse(text string) error {
	return choose(e, text, choice[End]{"resume", EndResume}, choice[End]{"final", EndFinal})
}

// without takes the name of a room from its error: what is wrong is the file.
func without(room string, err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.TrimPrefix(err.Error(), room))
}

// choice is a word and what it stands for.
type choice[T any] struct {
	word  string
	value T
}

func choose[T any](to *T, text string, choices ...choice[T]) error {
	words := make([]string, len(choices))
	for i, c := range choices {
		if c.word == text {
			*to = c.value
			return nil
		}
		words[i] = c.word
	}
	return fmt.Errorf("%q is not one of %s", text, strings.Join(words, ", "))
}
