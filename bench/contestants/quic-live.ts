import * as Quic from "../../src/Quic/QuicLive.js"
import * as Ours from "../ours.js"

export default Ours.make(Quic.layer({ serverName: "localhost" }))
