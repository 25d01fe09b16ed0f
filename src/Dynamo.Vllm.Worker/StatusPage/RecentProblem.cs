namespace Dynamo.Vllm.Worker.StatusPage;

/// <summary>A line of the log that was a warning or worse.</summary>
/// <param name="Time">When.</param>
/// <param name="Level">As the log names it.</param>
/// <param name="Event">Its number; the message says what it is.</param>
/// <param name="Message">Cut where it is long. As in the log: nothing of prompts, answers and secrets.</param>
internal sealed record RecentProblem(DateTimeOffset Time, string Level, int Event, string Message);
