/* Browsers start no worker for a page that is opened from a folder (file:). The search is one, and runs in a
   hidden frame there instead: it gets and gives messages as a worker does. Named as the theme looks for it. */
class IFrameWorker extends EventTarget {
  constructor(url) {
    super()
    const frame = document.createElement("iframe")
    frame.hidden = true
    document.body.append(frame)
    const inside = frame.contentWindow
    inside.postMessage = data =>
      setTimeout(() => this.dispatchEvent(new MessageEvent("message", { data })))
    this.frame = frame
    this.ready = new Promise((resolve, reject) => {
      const script = inside.document.createElement("script")
      script.src = url
      script.onload = () => resolve(inside)
      script.onerror = () => reject(new Error(`${url} can't be loaded`))
      inside.document.body.append(script)
    })
  }

  postMessage(data) {
    this.ready.then(inside => inside.dispatchEvent(new MessageEvent("message", { data })))
  }

  terminate() {
    this.frame.remove()
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
}
