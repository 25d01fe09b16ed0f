namespace Dynamo.Vllm.Python.Locating;

/// <summary>An interpreter and the library that belongs to it.</summary>
/// <param name="Executable">Absolute path of the real interpreter; becomes <c>sys.executable</c>, which spawned children run.</param>
/// <param name="LibraryPath">Absolute path of its libpython.</param>
/// <param name="Version"><c>sys.version</c> in full; the library must report the same.</param>
/// <param name="Major">First number of the version.</param>
/// <param name="Minor">Second number of the version.</param>
public sealed record PythonInstallation(string Executable, string LibraryPath, string Version, int Major, int Minor);
