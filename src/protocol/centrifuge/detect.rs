//! Who serves this upgrade, and which generation does the client speak?

use crate::core::disconnect::Disconnect;
use crate::protocol::{Accepted, AppNamed, Codec as AnyCodec, UpgradeError, UpgradeRequest};
use crate::wire::json::Object;

use super::{Codec, Encoding, Generation};

const PATH: &str = "/connection/websocket";
const JSON_SUBPROTOCOL: &str = "centrifuge-json";
const PROTOBUF_SUBPROTOCOL: &str = "centrifuge-protobuf";

/// See [`AnyCodec::for_upgrade`].
pub fn for_upgrade<'r>(request: &UpgradeRequest<'r>) -> Option<Result<Accepted<'r>, UpgradeError>> {
    (request.path == PATH).then(|| accept(request))
}

fn accept<'r>(request: &UpgradeRequest<'r>) -> Result<Accepted<'r>, UpgradeError> {
    let offers = |name: &str| request.subprotocols.split(',').any(|offered| offered.trim() == name);
    // A client that offers one and does not get it back gives up.
    let subprotocol = [JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL].into_iter().find(|name| offers(name));
    let is_protobuf = subprotocol == Some(PROTOBUF_SUBPROTOCOL)
        || ["format", "cf_protocol", "protocol"]
            .iter()
            .any(|name| request.parameter(name) == Some("protobuf"));
    let encoding = if is_protobuf { Encoding::Protobuf } else { Encoding::Json };
    let generation = match request.parameter("cf_protocol_version") {
        None => None,
        Some("v1") => Some(Generation::V1),
        Some("v2") => Some(Generation::V2),
        Some(_) => return Err(UpgradeError::ProtocolVersion),
    };
    let frame_pings = request.parameter("cf_ws_frame_ping_pong") == Some("true");
    let codec = AnyCodec::Centrifuge(Codec { generation, encoding, frame_pings });
    Ok(Accepted { codec, subprotocol, app: AppNamed::ByPath, end: None })
}

/// Judges the first command of a connection. The legacy connect has no method, because it is number 0; the current
/// one is called by its name. `None`: neither, so the question stays open.
pub(super) fn generation(command: Object<'_>) -> Result<Option<Generation>, Disconnect> {
    let found = command.read(["connect", "method", "params"]).map_err(|_| Disconnect::BadRequest)?;
    Ok(match found {
        [Some(_), _, _] => Some(Generation::V2),
        [None, None, None] => None,
        [None, _, _] => Some(Generation::V1),
    })
}
