import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as FlowControl from "../../src/protocol/FlowControl.js"

describe("receiving", () => {
  it("the peer may use up its window, to the byte", () => {
    const flow = FlowControl.make(100, 0)
    expect(FlowControl.canReceive(flow, 100)).toBe(true)
    expect(FlowControl.canReceive(flow, 101)).toBe(false)
    FlowControl.receive(flow, 60)
    expect(FlowControl.canReceive(flow, 40)).toBe(true)
    expect(FlowControl.canReceive(flow, 41)).toBe(false)
    expect(FlowControl.unread(flow)).toBe(60)
  })

  it("credit is given once half the window is due, in one piece", () => {
    const flow = FlowControl.make(100, 0)
    FlowControl.receive(flow, 90)
    expect(FlowControl.takeUpdate(flow)).toBe(0)
    FlowControl.release(flow, 49)
    expect(FlowControl.takeUpdate(flow)).toBe(0)
    FlowControl.release(flow, 1)
    expect(FlowControl.takeUpdate(flow)).toBe(50)
    expect(FlowControl.takeUpdate(flow)).toBe(0)
    expect(flow.receiveCredit).toBe(60)
    expect(FlowControl.unread(flow)).toBe(40)
  })

  it("bytes that are retained count as unread again, and as much must be read before there is more credit", () => {
    const flow = FlowControl.make(100, 0)
    FlowControl.receive(flow, 80)
    FlowControl.release(flow, 80)
    expect(FlowControl.takeUpdate(flow)).toBe(80)
    FlowControl.retain(flow, 80)
    expect(FlowControl.unread(flow)).toBe(80)
    FlowControl.release(flow, 70)
    expect(FlowControl.takeUpdate(flow)).toBe(0)
    FlowControl.release(flow, 10)
    expect(FlowControl.takeUpdate(flow)).toBe(0)
    expect(FlowControl.unread(flow)).toBe(0)
  })

  it("a window that grows gives the peer as much more, and what is unread stays what it is", () => {
    const flow = FlowControl.make(100, 0)
    FlowControl.receive(flow, 80)
    FlowControl.release(flow, 50)
    FlowControl.grow(flow, 300)
    expect(flow.window).toBe(400)
    expect(FlowControl.unread(flow)).toBe(30)
    expect(FlowControl.takeUpdate(flow)).toBe(350)
    expect(flow.receiveCredit).toBe(370)
    expect(FlowControl.unread(flow)).toBe(30)
  })

  it("credit may be asked for sooner than at half the window", () => {
    const flow = FlowControl.make(100, 0)
    FlowControl.receive(flow, 100)
    FlowControl.release(flow, 12)
    expect(FlowControl.takeUpdate(flow, 12.5)).toBe(0)
    FlowControl.release(flow, 1)
    expect(FlowControl.takeUpdate(flow, 12.5)).toBe(13)
  })

  it("a window of nothing asks for no updates of nothing", () => {
    expect(FlowControl.takeUpdate(FlowControl.make(0, 0))).toBe(0)
  })
})

describe("sending", () => {
  it("credit is used up and added to, up to 32 bits", () => {
    const flow = FlowControl.make(0, 10)
    FlowControl.send(flow, 10)
    expect(flow.sendCredit).toBe(0)
    expect(FlowControl.addCredit(flow, 0xffff_ffff)).toBe(true)
    expect(FlowControl.addCredit(flow, 1)).toBe(false)
  })

  it("credit may be taken back, below zero, and has the limit that is asked for", () => {
    const flow = FlowControl.make(0, 10)
    expect(FlowControl.addCredit(flow, -30, 100)).toBe(true)
    expect(flow.sendCredit).toBe(-20)
    expect(FlowControl.addCredit(flow, 120, 100)).toBe(true)
    expect(FlowControl.addCredit(flow, 1, 100)).toBe(false)
  })
})

it("two ends agree on what may be sent, whatever is sent and read, and a reader that reads all never leaves the sender stuck", () => {
  FastCheck.assert(
    FastCheck.property(
      FastCheck.integer({ min: 1, max: 1000 }),
      FastCheck.array(FastCheck.record({ send: FastCheck.nat(400), read: FastCheck.nat(400) }), { maxLength: 50 }),
      (window, steps) => {
        const sender = FlowControl.make(0, window)
        const receiver = FlowControl.make(window, 0)
        let unread = 0
        const read = (wanted: number) => {
          const size = Math.min(wanted, unread)
          unread -= size
          FlowControl.release(receiver, size)
          expect(FlowControl.addCredit(sender, FlowControl.takeUpdate(receiver))).toBe(true)
        }
        for (const step of steps) {
          const size = Math.min(step.send, sender.sendCredit)
          expect(FlowControl.canReceive(receiver, size)).toBe(true)
          FlowControl.send(sender, size)
          FlowControl.receive(receiver, size)
          unread += size
          read(step.read)
          expect(sender.sendCredit).toBe(receiver.receiveCredit)
          expect(FlowControl.unread(receiver)).toBe(unread)
          expect(unread).toBeLessThanOrEqual(window)
        }
        read(unread)
        expect(sender.sendCredit * 2).toBeGreaterThanOrEqual(window)
      }
    )
  )
})
