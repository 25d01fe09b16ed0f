namespace Dynamo.Vllm.Engine.Processes;

/// <summary>One process.</summary>
/// <param name="Id">Process id.</param>
/// <param name="Name">At most 15 characters, as the kernel keeps it.</param>
/// <param name="Parent">Process id of the parent; 1 after init has adopted it.</param>
/// <param name="HasEnded">It has ended and waits for its parent to notice.</param>
internal readonly record struct ProcessEntry(int Id, string Name, int Parent, bool HasEnded);
