import * as Tls from "../../src/Tls/TlsLive.js"
import * as Ours from "../ours.js"

export default Ours.make(Tls.layer({ serverName: "localhost" }))
