// centrifuge-go as a speaker in the conversation: what speakers.mjs says of programs.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/centrifugal/centrifuge-go"
)

var setup struct {
	URL       string `json:"url"`
	Channel   string `json:"channel"`
	Tokens    string `json:"tokens"`
	Protobuf  bool   `json:"protobuf"`
	Reconnect struct {
		Min int `json:"min"`
		Max int `json:"max"`
	} `json:"reconnect_ms"`
}

type object = map[string]any

var output sync.Mutex

func say(kind string, more object) {
	if more == nil {
		more = object{}
	}
	more["type"] = kind
	line, err := json.Marshal(more)
	check(err)
	output.Lock()
	defer output.Unlock()
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// JSON travels as it is, in both encodings.
func raw(data []byte) any {
	if len(data) == 0 {
		return nil
	}
	return json.RawMessage(data)
}

func info(told *centrifuge.ClientInfo) any {
	if told == nil {
		return nil
	}
	return object{
		"user": told.User, "client": told.Client, "conn_info": raw(told.ConnInfo), "chan_info": raw(told.ChanInfo),
	}
}

func publication(told centrifuge.Publication) object {
	return object{"data": raw(told.Data), "offset": told.Offset, "info": info(told.Info)}
}

func token(path string) (string, error) {
	response, err := http.Get(setup.Tokens + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func connect() (*centrifuge.Client, *centrifuge.Subscription) {
	config := centrifuge.Config{
		GetToken:          func(centrifuge.ConnectionTokenEvent) (string, error) { return token("/connection") },
		MinReconnectDelay: time.Duration(setup.Reconnect.Min) * time.Millisecond,
		MaxReconnectDelay: time.Duration(setup.Reconnect.Max) * time.Millisecond,
		// The machine may be busy with all SDKs at once.
		HandshakeTimeout: 5 * time.Second,
	}
	var client *centrifuge.Client
	if setup.Protobuf {
		client = centrifuge.NewProtobufClient(setup.URL+"?format=protobuf", config)
	} else {
		client = centrifuge.NewJsonClient(setup.URL, config)
	}
	client.OnConnected(func(event centrifuge.ConnectedEvent) { say("connected", object{"client": event.ClientID}) })
	client.OnConnecting(func(event centrifuge.ConnectingEvent) {
		if event.Code != 0 {
			say("connecting", object{"code": event.Code, "reason": event.Reason})
		}
	})
	client.OnDisconnected(func(event centrifuge.DisconnectedEvent) {
		say("disconnected", object{"code": event.Code, "reason": event.Reason})
	})
	client.OnSubscribed(func(event centrifuge.ServerSubscribedEvent) {
		say("server_subscribed", object{"channel": event.Channel, "recovered": event.Recovered})
	})
	client.OnPublication(func(event centrifuge.ServerPublicationEvent) {
		told := publication(event.Publication)
		told["channel"] = event.Channel
		say("server_publication", told)
	})
	subscription, err := client.NewSubscription(setup.Channel, centrifuge.SubscriptionConfig{
		GetToken:    func(centrifuge.SubscriptionTokenEvent) (string, error) { return token("/subscription") },
		Recoverable: true,
		JoinLeave:   true,
	})
	check(err)
	subscription.OnSubscribed(func(event centrifuge.SubscribedEvent) {
		say("subscribed", object{"recovered": event.Recovered})
	})
	subscription.OnSubscribing(func(event centrifuge.SubscribingEvent) {
		if event.Code != 0 {
			say("subscribing", object{"code": event.Code, "reason": event.Reason})
		}
	})
	subscription.OnUnsubscribed(func(event centrifuge.UnsubscribedEvent) {
		say("unsubscribed", object{"code": event.Code, "reason": event.Reason})
	})
	subscription.OnError(func(event centrifuge.SubscriptionErrorEvent) {
		say("error", object{"reason": event.Error.Error()})
	})
	subscription.OnPublication(func(event centrifuge.PublicationEvent) {
		say("publication", publication(event.Publication))
	})
	subscription.OnJoin(func(event centrifuge.JoinEvent) { say("join", object{"info": info(&event.ClientInfo)}) })
	subscription.OnLeave(func(event centrifuge.LeaveEvent) { say("leave", object{"info": info(&event.ClientInfo)}) })
	check(client.Connect())
	check(subscription.Subscribe())
	return client, subscription
}

type question struct {
	ID    int             `json:"id"`
	Ask   string          `json:"ask"`
	Data  json.RawMessage `json:"data"`
	Limit int32           `json:"limit"`
	Since *struct {
		Offset uint64 `json:"offset"`
		Epoch  string `json:"epoch"`
	} `json:"since"`
	Reverse bool `json:"reverse"`
}

func ask(client *centrifuge.Client, subscription *centrifuge.Subscription, asked question) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	switch asked.Ask {
	case "publish":
		_, err := subscription.Publish(ctx, asked.Data)
		return nil, err
	case "presence":
		presence, err := subscription.Presence(ctx)
		people := object{}
		for id, told := range presence.Clients {
			people[id] = info(&told)
		}
		return people, err
	case "presence_stats":
		stats, err := subscription.PresenceStats(ctx)
		return object{"clients": stats.NumClients, "users": stats.NumUsers}, err
	case "history":
		options := []centrifuge.HistoryOption{
			centrifuge.WithHistoryLimit(asked.Limit), centrifuge.WithHistoryReverse(asked.Reverse),
		}
		if asked.Since != nil {
			since := centrifuge.StreamPosition{Offset: asked.Since.Offset, Epoch: asked.Since.Epoch}
			options = append(options, centrifuge.WithHistorySince(&since))
		}
		past, err := subscription.History(ctx, options...)
		publications := []object{}
		for _, told := range past.Publications {
			publications = append(publications, publication(told))
		}
		return object{"publications": publications, "offset": past.Offset, "epoch": past.Epoch}, err
	case "disconnect":
		return nil, client.Disconnect()
	}
	return nil, fmt.Errorf("unknown question %q", asked.Ask)
}

func main() {
	check(json.Unmarshal([]byte(os.Args[1]), &setup))
	client, subscription := connect()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		check(json.Unmarshal(lines.Bytes(), &asked))
		answer := object{"id": asked.ID}
		if result, err := ask(client, subscription, asked); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["result"] = result
		}
		say("answer", answer)
	}
}
