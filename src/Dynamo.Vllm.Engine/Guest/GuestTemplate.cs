namespace Dynamo.Vllm.Engine.Guest;

/// <summary>How vLLM encodes requests with some set of parameters.</summary>
/// <param name="Question">Number under which it was asked for.</param>
/// <param name="Json">Names of the fields, and what a request must keep.</param>
/// <param name="Encoded">One such request.</param>
internal sealed record GuestTemplate(int Question, byte[] Json, byte[] Encoded);
