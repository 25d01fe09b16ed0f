using System.CommandLine;
using Dynamo.Vllm.Fuzz;
using Dynamo.Vllm.Testing.Decoders;

var name = new Argument<string?>("decoder") { Description = "One of those that 'list' names; else all", Arity = ArgumentArity.ZeroOrOne };
var one = new Argument<string>("decoder") { Description = "One of those that 'list' names" };
var folder = new Argument<string>("folder") { Description = "Where its captures are put" };
var inputs = new Option<long>("--inputs") { Description = "For each decoder", DefaultValueFactory = _ => 1_000_000 };
var seed = new Option<long>("--seed")
{
    Description = "Of the first input; the next one has the next number",
    DefaultValueFactory = _ => 1,
};
var findings = new Option<string>("--findings")
{
    Description = "Where an input is put that a decoder does not survive",
    DefaultValueFactory = _ => "findings",
};

var list = new Command("list", "Every decoder of bytes that come from a peer.");
list.SetAction(_ =>
{
    foreach (var target in DecoderTargets.All)
    {
        Console.WriteLine(target.Name);
    }
});

var run = new Command("run", "Damages captures of real peers; each input must be read or refused, within the bound of what is allocated.")
{
    name,
    inputs,
    seed,
    findings,
};
run.SetAction(result =>
{
    var targets = result.GetValue(name) is { } wanted ? [DecoderTargets.Find(wanted)] : DecoderTargets.All;
    var first = (ulong)result.GetValue(seed);
    var faults = targets.Count(target =>
        new MutationRun(target, result.GetValue(inputs), first, result.GetValue(findings)!).Run() is not null
    );
    Console.WriteLine($"{targets.Count} decoders, {targets.Count * result.GetValue(inputs):N0} inputs, {faults} faults");
    return faults == 0 ? 0 : 1;
});

var captures = new Command("captures", "Writes a decoder's captures as files, for a fuzzer to begin with.") { one, folder };
captures.SetAction(result =>
{
    var path = Directory.CreateDirectory(result.GetValue(folder)!).FullName;
    foreach (var (bytes, number) in DecoderTargets.Find(result.GetValue(one)!).Captures.Select((bytes, number) => (bytes, number)))
    {
        File.WriteAllBytes(Path.Combine(path, $"{number:000}.bin"), bytes);
    }
});

var afl = new Command("afl", "The child of afl-fuzz (tests/fuzz/run): takes its inputs, on assemblies that sharpfuzz has instrumented.")
{
    one,
};
afl.SetAction(result =>
{
    var decoder = result.GetValue(one)!;
    DecoderTarget? target = null;
    SharpFuzz.Fuzzer.Run(stream =>
    {
        target ??= DecoderTargets.Find(decoder); // here: instrumented code must not run before
        using var input = new MemoryStream();
        stream.CopyTo(input);
        DecoderProof.Survives(input.ToArray(), target.Decode);
    });
});

return new RootCommand("Gives hostile bytes to every decoder of ours.") { list, run, captures, afl }
    .Parse(args)
    .Invoke();
