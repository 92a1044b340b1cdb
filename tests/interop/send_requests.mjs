// Sends the requests on standard input with Node's fetch.
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const [method, url, headers, body] = line.split("\t");
  const response = await fetch(url, {
    method,
    headers: headers.split("|").filter(Boolean).map((header) => header.split(": ")),
    body: body ? Buffer.from(body, "base64") : undefined,
  });
  const headerLines = [...response.headers].map(([name, value]) => `${name}: ${value}\n`).join("");
  const content = Buffer.from(await response.arrayBuffer()).toString("base64");
  console.log(`${response.status}\t${Buffer.from(headerLines).toString("base64")}\t${content}`);
}
