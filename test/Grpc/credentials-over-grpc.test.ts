import { Grpc } from "effect-transport"
import { credentialsSuite } from "../CredentialsSuite.js"

credentialsSuite("GrpcLive", () => Grpc.layer())
