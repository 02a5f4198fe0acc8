import * as Tls from "effect-transport/Tls"
import * as Ours from "../ours.js"

export default Ours.make(Tls.layer({ serverName: "localhost" }))
