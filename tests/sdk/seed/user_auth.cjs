// First install the dependencies:
// npm install pusher express cors

const express = require("express");
const cors = require("cors");
const Pusher = require("pusher");
const pusher = new Pusher({
appId: "APP_ID",
key: "APP_KEY",
secret: "APP_SECRET",
cluster: "APP_CLUSTER",
useTLS: true,
});
const app = express();

app.use(express.json());
app.use(express.urlencoded({ extended: false }));
app.use(cors());
app.post("/pusher/user-auth", (req, res) => {
const socketId = req.body.socket_id;

// Replace this with code to retrieve the actual user id and info
const user = {
id: "some_id",
user_info: {
name: "John Smith",
},
watchlist: ['another_id_1', 'another_id_2']
};
const authResponse = pusher.authenticateUser(socketId, user);
res.send(authResponse);
});

const port = process.env.PORT || 5000;
app.listen(port);
