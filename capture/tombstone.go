package capture

// maxTombs bounds how many evicted streams are remembered: 64 bytes and the
// map's share each, about 8 MiB.
const maxTombs = 65_536

// tombs remembers the owners of evicted streams, so that a late reader learns
// that the stream is gone rather than that it never was. It is not safe for
// concurrent use.
type tombs struct {
	owners map[streamHash]owner
	ring   []streamHash // in the order of eviction from next on, once full
	next   int
}

func (t *tombs) add(h streamHash, o owner) {
	if t.owners == nil {
		t.owners = make(map[streamHash]owner)
	}
	if len(t.ring) < maxTombs {
		t.ring = append(t.ring, h)
	} else {
		delete(t.owners, t.ring[t.next])
		t.ring[t.next] = h
		t.next = (t.next + 1) % maxTombs
	}
	t.owners[h] = o
}

func (t *tombs) get(h streamHash) (owner, bool) {
	o, ok := t.owners[h]
	return o, ok
}
