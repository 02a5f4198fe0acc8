/** `npm run start:sharding`: a cluster of processes, one of which is killed. */
import { announce } from "../shared/announce.js"

announce("sharding")
await import("./program.js")
