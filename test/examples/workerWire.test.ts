import { boundarySuite, transportSuite } from "effect-transport/testing"
import * as WorkerWire from "../../examples/worker-wire/WorkerWire.js"

transportSuite("WorkerWire", { layer: WorkerWire.layer })

boundarySuite("WorkerWire", { layer: WorkerWire.layer })
