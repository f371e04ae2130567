//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fairlead-edge/fairlead/conformance/calls/shapes"
)

// shape is a message in the types that each format has in Go.
type shape struct {
	name  string
	proto proto.Message
	plain any // for encoding/json
}

// The same for encoding/json, as a program without protobuf would have it.
type (
	tick struct {
		Symbol string  `json:"symbol"`
		Bid    float64 `json:"bid"`
		Ask    float64 `json:"ask"`
		Volume int64   `json:"volume"`
		TimeMS int64   `json:"timeMs"`
	}
	order struct {
		ID         string    `json:"id"`
		CustomerID string    `json:"customerId"`
		Status     string    `json:"status"`
		CreatedAt  time.Time `json:"createdAt"`
		ShipTo     address   `json:"shipTo"`
		Lines      []line    `json:"lines"`
		TotalCents int64     `json:"totalCents"`
		Currency   string    `json:"currency"`
	}
	address struct {
		Name       string `json:"name"`
		Street     string `json:"street"`
		City       string `json:"city"`
		PostalCode string `json:"postalCode"`
		Country    string `json:"country"`
	}
	line struct {
		SKU        string `json:"sku"`
		Title      string `json:"title"`
		Quantity   int32  `json:"quantity"`
		PriceCents int64  `json:"priceCents"`
		Gift       bool   `json:"gift"`
	}
	telemetry struct {
		DeviceID    string    `json:"deviceId"`
		StartMS     int64     `json:"startMs"`
		Temperature []float64 `json:"temperature"`
		RPM         []int32   `json:"rpm"`
		DoorOpen    []bool    `json:"doorOpen"`
	}
	page struct {
		Users []user `json:"users"`
		Next  string `json:"next"`
	}
	user struct {
		ID          string            `json:"id"`
		Email       string            `json:"email"`
		DisplayName string            `json:"displayName"`
		Active      bool              `json:"active"`
		Roles       []string          `json:"roles"`
		LastSeenMS  int64             `json:"lastSeenMs"`
		Labels      map[string]string `json:"labels"`
	}
	article struct {
		ID          string   `json:"id"`
		Title       string   `json:"title"`
		Body        string   `json:"body"`
		Tags        []string `json:"tags"`
		PublishedMS int64    `json:"publishedMs"`
	}
)

const someMS = 1_763_870_400_123

func examples() []shape {
	at := time.UnixMilli(someMS).UTC()
	o := &shapes.Order{
		Id: "ord_8f3k2m9q", CustomerId: "cus_771204", Status: "PAID", CreatedAt: timestamppb.New(at), TotalCents: 18_497, Currency: "EUR",
		ShipTo: &shapes.Address{Name: "Mara Lindqvist", Street: "Hamngatan 14", City: "Göteborg", PostalCode: "411 08", Country: "SE"},
	}
	oj := order{
		ID: o.GetId(), CustomerID: o.GetCustomerId(), Status: o.GetStatus(), CreatedAt: at, TotalCents: o.GetTotalCents(), Currency: o.GetCurrency(),
		ShipTo: address{"Mara Lindqvist", "Hamngatan 14", "Göteborg", "411 08", "SE"},
	}
	for i, title := range []string{"Rope, 12 mm, per metre", "Shackle, stainless", "Fairlead, bronze", "Block, single"} {
		l := line{fmt.Sprintf("SKU-%05d", 4711*(i+1)), title, int32(i*3 + 1), int64(1299 + i*850), i == 2}
		oj.Lines = append(oj.Lines, l)
		o.Lines = append(o.Lines, &shapes.Line{Sku: l.SKU, Title: l.Title, Quantity: l.Quantity, PriceCents: l.PriceCents, Gift: l.Gift})
	}
	t := &shapes.Telemetry{DeviceId: "pump-0042", StartMs: someMS}
	tj := telemetry{DeviceID: t.GetDeviceId(), StartMS: someMS}
	for i := range 60 {
		degrees, rpm, open := 21.5+float64(i%7)*0.125, int32(1480+i%13), i%17 == 0
		t.Temperature, t.Rpm, t.DoorOpen = append(t.Temperature, degrees), append(t.Rpm, rpm), append(t.DoorOpen, open)
		tj.Temperature, tj.RPM, tj.DoorOpen = append(tj.Temperature, degrees), append(tj.RPM, rpm), append(tj.DoorOpen, open)
	}
	p, pj := &shapes.Page{Next: "eyJhZnRlciI6NTB9"}, page{Next: "eyJhZnRlciI6NTB9"}
	for i := range 50 {
		u := user{fmt.Sprintf("usr_%06d", 31*i), fmt.Sprintf("person%d@example.com", i), fmt.Sprintf("Person Number %d", i), i%5 != 0,
			[]string{"reader", "editor"}, someMS - int64(i)*60_000, map[string]string{"team": fmt.Sprint("team-", i%4), "region": "eu-north"}}
		pj.Users = append(pj.Users, u)
		p.Users = append(p.Users, &shapes.User{Id: u.ID, Email: u.Email, DisplayName: u.DisplayName, Active: u.Active, Roles: u.Roles, LastSeenMs: u.LastSeenMS, Labels: u.Labels})
	}
	body := strings.Repeat("A fairlead guides a line so that it runs free and does not chafe; it keeps the load where the deck is strong. ", 40)
	tags := []string{"boats", "rope", "hardware"}
	return []shape{
		{"a price", &shapes.Tick{Symbol: "ROPE", Bid: 41.85, Ask: 41.87, Volume: 1200, TimeMs: someMS}, tick{"ROPE", 41.85, 41.87, 1200, someMS}},
		{"an order of four lines", o, oj},
		{"a minute of telemetry, 180 numbers", t, tj},
		{"a page of 50 users", p, pj},
		{"an article, 4.5 KB of text", &shapes.Article{Id: "art_1", Title: "What a fairlead is for", Body: body, Tags: tags, PublishedMs: someMS},
			article{"art_1", "What a fairlead is for", body, tags, someMS}},
	}
}

// measureFormats compares sizes, plain and by gzip, and what it costs to write and
// read.
func measureFormats(_ context.Context, _ settings, out io.Writer) error {
	fmt.Fprint(out, "\nProtobuf beside JSON, by encoding/json on plain structs and by protojson; sizes in bytes, CPU to write and to read in µs.\n\n")
	fmt.Fprint(out, "| message | protobuf | JSON | ratio | by gzip | CPU: protobuf | encoding/json | ratio | protojson |\n"+
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, s := range examples() {
		binary, err := proto.Marshal(s.proto)
		if err != nil {
			return err
		}
		text, err := json.Marshal(s.plain)
		if err != nil {
			return err
		}
		byProto, err := cost(func() error { return throughProto(s.proto) })
		if err != nil {
			return err
		}
		byJSON, err := cost(func() error { return throughJSON(s.plain) })
		if err != nil {
			return err
		}
		byProtoJSON, err := cost(func() error { return throughProtoJSON(s.proto) })
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %s | %d | %d | **%.1f** | %.1f | %.1f | %.1f | **%.1f** | %.1f |\n", s.name, len(binary), len(text),
			float64(len(text))/float64(len(binary)), float64(zipped(text))/float64(zipped(binary)), byProto, byJSON, byJSON/byProto, byProtoJSON)
	}
	return nil
}

func zipped(p []byte) int {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(p) // into memory
	_ = w.Close()
	return b.Len()
}

func throughProto(m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, m.ProtoReflect().New().Interface())
}

func throughProtoJSON(m proto.Message) error {
	b, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(b, m.ProtoReflect().New().Interface())
}

func throughJSON(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	switch v.(type) {
	case tick:
		return json.Unmarshal(b, new(tick))
	case order:
		return json.Unmarshal(b, new(order))
	case telemetry:
		return json.Unmarshal(b, new(telemetry))
	case page:
		return json.Unmarshal(b, new(page))
	default:
		return json.Unmarshal(b, new(article))
	}
}

// cost returns the median time of it, in µs, of many.
func cost(do func() error) (float64, error) {
	const turns, times = 15, 200
	var all []float64
	for range turns {
		start := time.Now()
		for range times {
			if err := do(); err != nil {
				return 0, err
			}
		}
		all = append(all, float64(time.Since(start).Nanoseconds())/1000/times)
	}
	median, _, _ := middle(all)
	return median, nil
}
