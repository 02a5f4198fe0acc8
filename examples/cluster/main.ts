/** `npm start`: says at once that it begins, before the modules that it stands on are loaded. */
import { announce } from "../shared/announce.js"

announce("cluster")
await import("./program.js")
