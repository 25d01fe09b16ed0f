namespace Dynamo.Vllm.Engine.Guest;

/// <summary>Records of the guest. The numbers are those of wire.py.</summary>
internal enum GuestRecordKind : byte
{
    Tokens = 1,
    Failure = 2,
    Reply = 3,
    Log = 4,
    Stats = 5,
    TokenText = 6,
    Step = 7,
    Vectors = 8,
    Progress = 9,
    Template = 20,
}
