// The AI SDK over its own providers, by the name of the face that they speak to: chat, responses or anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embed, generateText, isStepCount, Output, streamText, tool } from "ai";
import { z } from "zod";

import { able, near, PERSON, PNG, PNG_SEEN, run, same, throws, through } from "./checking.mjs";

const FACE = process.argv[2];
const Person = z.object({ name: z.string(), age: z.number() });
const weather = tool({
  description: "The weather of a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});
const openai = (here, apiKey) => createOpenAI({ baseURL: `${here.root}/v1`, apiKey });
const MAKERS = {
  chat: (here, name, key) => openai(here, key).chat(name),
  responses: (here, name, key) => openai(here, key).responses(name),
  anthropic: (here, name, key) => createAnthropic({ baseURL: `${here.root}/v1`, apiKey: key })(name),
};
// Under which a model tells its thoughts, and keeps their state.
const THINKS = {
  chat: {},
  responses: {
    openai: {
      forceReasoning: true,
      reasoningEffort: "medium",
      reasoningSummary: "auto",
      store: false,
      include: ["reasoning.encrypted_content"],
    },
  },
  anthropic: { anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } } },
};

const model = (here, name = here.model, key = here.key) => MAKERS[FACE](here, name, key);
const asking = (here, scene, more = {}, mark = here.mark()) => ({
  model: model(here),
  prompt: `[${scene}:${mark}] Please.`,
  maxRetries: 0,
  providerOptions: FACE === "responses" ? { openai: { store: false } } : {},
  ...more,
});

async function complete(here) {
  const answer = await generateText(asking(here, "hello"));
  same([answer.text, answer.finishReason], ["Hello there", "stop"]);
  same([answer.usage.inputTokens, answer.usage.outputTokens], [20, 7]);
}

async function stream(here) {
  const mark = here.mark();
  const said = [];
  const answer = streamText(asking(here, "gated", {}, mark));
  for await (const text of answer.textStream) {
    if (!text) continue;
    said.push(text);
    await here.open(mark);
  }
  same(said, ["One", " two"]);
  same((await answer.usage).outputTokens, 7);
}

async function tools(here) {
  const loop = { tools: { weather }, stopWhen: isStepCount(3) };
  const answer = await generateText(asking(here, "tools", loop));
  same(answer.text, "It is: sunny in Paris / sunny in Rome");
  const streamed = streamText(asking(here, "tools", loop));
  let said = "";
  for await (const text of streamed.textStream) said += text;
  same(said, "Let me look.It is: sunny in Paris / sunny in Rome");
}

/** Thoughts before calls: their state comes back with the results. */
async function thinking(here) {
  const lost = FACE === "chat" || here.wire === "chat.completions";
  const more = { tools: { weather }, stopWhen: isStepCount(3), providerOptions: THINKS[FACE] };
  const mark = here.mark();
  const answer = await generateText(asking(here, "thinktools", more, mark));
  if (FACE !== "chat") same(answer.steps[0].reasoningText, "I should look.");
  same(answer.text, `States: ${lost ? "none" : mark}`);
  const other = here.mark();
  const streamed = streamText(asking(here, "thinktools", more, other));
  let said = "";
  for await (const text of streamed.textStream) said += text;
  same(said, `States: ${lost ? "none" : other}`);
}

async function structured(here) {
  const answer = await generateText(asking(here, "schema", { output: Output.object({ schema: Person }) }));
  same(answer.output, PERSON);
}

async function picture(here) {
  const content = [
    { type: "text", text: `[picture:${here.mark()}]` },
    { type: "image", image: Buffer.from(PNG, "base64"), mediaType: "image/png" },
  ];
  const { prompt, ...asked } = asking(here, "picture");
  const answer = await generateText({ ...asked, messages: [{ role: "user", content }] });
  same(answer.text.slice(0, PNG_SEEN.length), PNG_SEEN);
}

async function errors(here) {
  const status = async (scene, more = {}) =>
    (await throws(APICallError, () => generateText(asking(here, scene, more)))).statusCode;
  same(await status("hello", { model: model(here, here.model, "sk-nobody") }), 401);
  same(await status("hello", { model: model(here, "missing-model") }), 404);
  same(await status("fail-400"), 400);
  same(await status("fail-429", { model: model(here, here.trouble) }), 429);
}

async function broken_stream(here) {
  for (const scene of ["break", "fault"]) {
    const mark = here.mark();
    const said = [];
    const complaints = [];
    const more = { model: model(here, here.trouble), onError: ({ error }) => complaints.push(error) };
    const answer = streamText(asking(here, scene, more, mark));
    try {
      for await (const text of answer.textStream) {
        if (!text) continue;
        said.push(text);
        await here.open(mark);
      }
    } catch (error) {
      complaints.push(error);
    }
    same(said, ["One"]);
    same(complaints.length > 0, true);
  }
}

async function slow(here) {
  let said = "";
  for await (const text of streamText(asking(here, "slow")).textStream) said += text;
  same(said, "One two");
}

async function embedding(here) {
  const own = openai(here, here.key).embedding(here.vectors);
  same((await embed({ model: own, value: "four", maxRetries: 0 })).embedding, [4, -0.5]);
}

await run("ai", [
  complete,
  stream,
  able(tools),
  able(thinking),
  able(structured),
  able(picture),
  errors,
  through(broken_stream),
  near(slow),
  ...(FACE === "chat" ? [embedding] : []),
]);
