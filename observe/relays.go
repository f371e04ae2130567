package observe

import "github.com/prometheus/client_golang/prometheus"

// Relays says what passes through the WebSockets that are forwarded.
type Relays struct{ Client, Upstream Relayed }

// Relayed is what one side has sent: whole messages, and their bytes as sent; of them,
// those that the two ends have compressed for each other.
type Relayed struct{ Messages, Bytes, Deflated, DeflatedBytes int64 }

// relayFamily is a family of them by side.
type relayFamily struct {
	desc *prometheus.Desc
	of   func(Relayed) int64
}

func relayed(name, help string, of func(Relayed) int64) relayFamily {
	return relayFamily{prometheus.NewDesc(name, help, []string{"side"}, nil), of}
}

var relays = []relayFamily{
	relayed("fairlead_relay_messages_total", "Messages of forwarded WebSockets, by who sent them.", func(r Relayed) int64 { return r.Messages }),
	relayed("fairlead_relay_message_bytes_total", "Bytes of them, as sent.", func(r Relayed) int64 { return r.Bytes }),
	relayed("fairlead_relay_deflated_messages_total",
		"Of them, those that the two ends have compressed by permessage-deflate: they pass as they are.", func(r Relayed) int64 { return r.Deflated }),
	relayed("fairlead_relay_deflated_bytes_total", "Bytes of those, as sent.", func(r Relayed) int64 { return r.DeflatedBytes }),
}

func (r Relays) collect(ch chan<- prometheus.Metric) {
	for _, f := range relays {
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, float64(f.of(r.Client)), "client")
		ch <- prometheus.MustNewConstMetric(f.desc, prometheus.CounterValue, float64(f.of(r.Upstream)), "upstream")
	}
}
