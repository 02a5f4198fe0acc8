import * as Quic from "effect-transport/Quic"
import * as Ours from "../ours.js"

export default Ours.make(
  Quic.layer({ serverName: "localhost" }),
  // A listener on a wildcard address of UDP answers from whichever address the system likes.
  "transport"
)
