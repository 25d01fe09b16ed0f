namespace Dynamo.Vllm.Python.Interpreter;

/// <summary>The Python program that runs inside: its modules and where it begins.</summary>
/// <param name="Modules">Dotted name to source text; packages end in <c>.__init__</c>.</param>
/// <param name="EntryModule">Dotted name of the module that holds <c>main(host)</c>.</param>
/// <param name="Settings">JSON text handed over as <c>host.settings</c>.</param>
public sealed record GuestProgram(IReadOnlyDictionary<string, string> Modules, string EntryModule, string Settings);
