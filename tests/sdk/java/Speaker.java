import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.centrifugal.centrifuge.Client;
import io.github.centrifugal.centrifuge.ClientInfo;
import io.github.centrifugal.centrifuge.ConnectedEvent;
import io.github.centrifugal.centrifuge.ConnectingEvent;
import io.github.centrifugal.centrifuge.ConnectionTokenEvent;
import io.github.centrifugal.centrifuge.ConnectionTokenGetter;
import io.github.centrifugal.centrifuge.DisconnectedEvent;
import io.github.centrifugal.centrifuge.EventListener;
import io.github.centrifugal.centrifuge.HistoryOptions;
import io.github.centrifugal.centrifuge.JoinEvent;
import io.github.centrifugal.centrifuge.LeaveEvent;
import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.PublicationEvent;
import io.github.centrifugal.centrifuge.ResultCallback;
import io.github.centrifugal.centrifuge.ServerPublicationEvent;
import io.github.centrifugal.centrifuge.ServerSubscribedEvent;
import io.github.centrifugal.centrifuge.StreamPosition;
import io.github.centrifugal.centrifuge.SubscribedEvent;
import io.github.centrifugal.centrifuge.SubscribingEvent;
import io.github.centrifugal.centrifuge.Subscription;
import io.github.centrifugal.centrifuge.SubscriptionErrorEvent;
import io.github.centrifugal.centrifuge.SubscriptionEventListener;
import io.github.centrifugal.centrifuge.SubscriptionOptions;
import io.github.centrifugal.centrifuge.SubscriptionTokenEvent;
import io.github.centrifugal.centrifuge.SubscriptionTokenGetter;
import io.github.centrifugal.centrifuge.TokenCallback;
import io.github.centrifugal.centrifuge.UnsubscribedEvent;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.function.Function;

/** centrifuge-java as a speaker in the conversation: what speakers.mjs says of programs. It speaks Protobuf only. */
public class Speaker {
  private static final Gson GSON = new Gson();
  private static final PrintStream OUTPUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final HttpClient HTTP = HttpClient.newHttpClient();
  private static JsonObject setup;

  private static synchronized void say(String type, JsonObject more) {
    more.addProperty("type", type);
    OUTPUT.println(GSON.toJson(more));
  }

  private static JsonElement decode(byte[] data) {
    if (data == null || data.length == 0) return JsonNull.INSTANCE;
    return JsonParser.parseString(new String(data, StandardCharsets.UTF_8));
  }

  private static JsonElement info(ClientInfo told) {
    if (told == null) return JsonNull.INSTANCE;
    JsonObject info = new JsonObject();
    info.addProperty("user", told.getUser());
    info.addProperty("client", told.getClient());
    info.add("conn_info", decode(told.getConnInfo()));
    info.add("chan_info", decode(told.getChanInfo()));
    return info;
  }

  private static JsonObject publication(byte[] data, long offset, ClientInfo info) {
    JsonObject publication = new JsonObject();
    publication.add("data", decode(data));
    publication.addProperty("offset", offset);
    publication.add("info", info(info));
    return publication;
  }

  private static JsonObject one(String name, JsonElement value) {
    JsonObject object = new JsonObject();
    object.add(name, value);
    return object;
  }

  private static JsonObject end(int code, String reason) {
    JsonObject end = new JsonObject();
    end.addProperty("code", code);
    end.addProperty("reason", reason);
    return end;
  }

  private static void token(String path, TokenCallback callback) {
    HttpRequest request = HttpRequest.newBuilder(URI.create(setup.get("tokens").getAsString() + path)).build();
    HTTP.sendAsync(request, BodyHandlers.ofString())
        .whenComplete((response, error) -> callback.Done(error, error == null ? response.body() : null));
  }

  private static final EventListener OF_CLIENT = new EventListener() {
    @Override public void onConnected(Client client, ConnectedEvent event) {
      say("connected", one("client", GSON.toJsonTree(event.getClient())));
    }

    @Override public void onConnecting(Client client, ConnectingEvent event) {
      if (event.getCode() != 0) say("connecting", end(event.getCode(), event.getReason()));
    }

    @Override public void onDisconnected(Client client, DisconnectedEvent event) {
      say("disconnected", end(event.getCode(), event.getReason()));
    }

    @Override public void onSubscribed(Client client, ServerSubscribedEvent event) {
      JsonObject told = one("recovered", GSON.toJsonTree(event.getRecovered()));
      told.addProperty("channel", event.getChannel());
      say("server_subscribed", told);
    }

    @Override public void onPublication(Client client, ServerPublicationEvent event) {
      JsonObject told = publication(event.getData(), event.getOffset(), event.getInfo());
      told.addProperty("channel", event.getChannel());
      say("server_publication", told);
    }
  };

  private static final SubscriptionEventListener OF_SUBSCRIPTION = new SubscriptionEventListener() {
    @Override public void onSubscribed(Subscription subscription, SubscribedEvent event) {
      say("subscribed", one("recovered", GSON.toJsonTree(event.getRecovered())));
    }

    @Override public void onSubscribing(Subscription subscription, SubscribingEvent event) {
      if (event.getCode() != 0) say("subscribing", end(event.getCode(), event.getReason()));
    }

    @Override public void onUnsubscribed(Subscription subscription, UnsubscribedEvent event) {
      say("unsubscribed", end(event.getCode(), event.getReason()));
    }

    @Override public void onPublication(Subscription subscription, PublicationEvent event) {
      say("publication", publication(event.getData(), event.getOffset(), event.getInfo()));
    }

    @Override public void onJoin(Subscription subscription, JoinEvent event) {
      say("join", one("info", info(event.getInfo())));
    }

    @Override public void onLeave(Subscription subscription, LeaveEvent event) {
      say("leave", one("info", info(event.getInfo())));
    }

    @Override public void onError(Subscription subscription, SubscriptionErrorEvent event) {
      say("error", one("reason", GSON.toJsonTree(event.getError().toString())));
    }
  };

  private static Client client() {
    JsonObject reconnect = setup.getAsJsonObject("reconnect_ms");
    Options options = new Options();
    options.setMinReconnectDelay(reconnect.get("min").getAsInt());
    options.setMaxReconnectDelay(reconnect.get("max").getAsInt());
    options.setTokenGetter(new ConnectionTokenGetter() {
      @Override public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
        token("/connection", callback);
      }
    });
    return new Client(setup.get("url").getAsString() + "?format=protobuf", options, OF_CLIENT);
  }

  private static Subscription subscription(Client client) throws Exception {
    SubscriptionOptions options = new SubscriptionOptions();
    options.setRecoverable(true);
    options.setJoinLeave(true);
    options.setTokenGetter(new SubscriptionTokenGetter() {
      @Override public void getSubscriptionToken(SubscriptionTokenEvent event, TokenCallback callback) {
        token("/subscription", callback);
      }
    });
    return client.newSubscription(setup.get("channel").getAsString(), options, OF_SUBSCRIPTION);
  }

  /** Tells the answer to question `id`, once it is there. */
  private static <T> ResultCallback<T> answer(int id, Function<T, JsonElement> shown) {
    return (error, result) -> {
      JsonObject answer = new JsonObject();
      answer.addProperty("id", id);
      if (error == null) answer.add("result", shown.apply(result));
      else answer.addProperty("error", error.toString());
      say("answer", answer);
    };
  }

  private static void ask(Client client, Subscription subscription, JsonObject asked) {
    int id = asked.get("id").getAsInt();
    switch (asked.get("ask").getAsString()) {
      case "publish" -> subscription.publish(
          GSON.toJson(asked.get("data")).getBytes(StandardCharsets.UTF_8), answer(id, result -> JsonNull.INSTANCE));
      case "presence" -> subscription.presence(answer(id, presence -> {
        JsonObject people = new JsonObject();
        presence.getClients().forEach((who, told) -> people.add(who, info(told)));
        return people;
      }));
      case "presence_stats" -> subscription.presenceStats(answer(id, told -> {
        JsonObject stats = new JsonObject();
        stats.addProperty("clients", told.getNumClients());
        stats.addProperty("users", told.getNumUsers());
        return stats;
      }));
      case "history" -> {
        HistoryOptions.Builder options = new HistoryOptions.Builder().withLimit(asked.get("limit").getAsInt());
        if (asked.has("since")) options.withSince(GSON.fromJson(asked.get("since"), StreamPosition.class));
        if (asked.has("reverse")) options.withReverse(asked.get("reverse").getAsBoolean());
        subscription.history(options.build(), answer(id, told -> {
          JsonArray publications = new JsonArray();
          told.getPublications().forEach(one ->
              publications.add(publication(one.getData(), one.getOffset(), one.getInfo())));
          JsonObject past = one("publications", publications);
          past.addProperty("offset", told.getOffset());
          past.addProperty("epoch", told.getEpoch());
          return past;
        }));
      }
      case "disconnect" -> {
        client.disconnect();
        answer(id, result -> JsonNull.INSTANCE).onDone(null, null);
      }
      default -> throw new IllegalArgumentException(asked.toString());
    }
  }

  public static void main(String[] arguments) throws Exception {
    setup = JsonParser.parseString(arguments[0]).getAsJsonObject();
    Client client = client();
    Subscription subscription = subscription(client);
    client.connect();
    subscription.subscribe();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      ask(client, subscription, JsonParser.parseString(line).getAsJsonObject());
    }
    System.exit(0);
  }
}
